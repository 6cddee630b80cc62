"""Writes the REST interface as an OpenAPI 3.1 document: `docs/openapi.json`.

Everything comes from the contracts: paths from `google.api.http`, texts from their comments,
schemas from messages and their rules; who may call comes from `mesh/policy.yaml`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.api import annotations_pb2
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
)

from services.catalog.ports import INGRESS, INGRESS_TLS
from services.catalog.processes import SERVICES, VERSION
from services.ctl import policy as policies
from services.ctl.policy import OPEN, Policy
from services.ctl.render import descriptor
from services.ctl.render.schemas import Schemas, comments_of

FILE = Path(__file__).resolve().parents[3] / "docs" / "openapi.json"
ERROR = "google.rpc.Status"
SERVICE_PATH, METHOD_PATH = 6, 2
"""Field numbers of services in a file and of methods in a service: how comments are found."""
REFUSALS = {
    "400": "The request breaks a rule; the details name the field.",
    "401": "A token is missing or not valid.",
    "403": "The role of the token may not do this.",
    "404": "There is no such thing.",
    "413": "The request is too large.",
    "429": "Too many calls; the header retry-after says when to try again.",
    "503": "The service cannot do its work now; the details say why.",
    "504": "There was no answer in time.",
}


def document() -> dict[str, Any]:
    """Return the document as it is checked in."""
    held: dict[str, Any] = json.loads(FILE.read_text())
    return held


def render(contracts: FileDescriptorSet, policy: Policy) -> str:
    """Return the document as JSON; the same contracts and table give the same bytes."""
    schemas = Schemas(contracts)
    paths: dict[str, dict[str, Any]] = {}
    for service, method, text in _methods(contracts):
        for verb, template in descriptor.rest_paths(service, method.name):
            operation = _operation(service, method, text, template, schemas, policy)
            paths.setdefault(template, {})[verb.lower()] = operation
    made = {
        "openapi": "3.1.0",
        "info": {
            "title": "Quantum Trader",
            "version": VERSION,
            "description": "The services of Quantum Trader as REST. The same methods answer gRPC"
            " and gRPC-Web at the same ports.",
        },
        "servers": [
            {"url": f"http://localhost:{INGRESS}", "description": "This machine."},
            {"url": f"https://localhost:{INGRESS_TLS}", "description": "TLS; takes a token."},
        ],
        "tags": [{"name": s.path, "description": s.grpc_service} for s in SERVICES],
        "paths": dict(sorted(paths.items())),
        "components": {
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "`qt token --role ROLE` prints one.",
                }
            },
            "responses": {
                code: {
                    "description": text,
                    "content": {"application/json": {"schema": schemas.reference(ERROR)}},
                }
                for code, text in REFUSALS.items()
            },
            "schemas": schemas.written(),
        },
    }
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"


def _methods(
    contracts: FileDescriptorSet,
) -> Iterator[tuple[str, MethodDescriptorProto, str]]:
    routed = {service.grpc_service for service in SERVICES}
    for file in contracts.file:
        for number, service in enumerate(file.service):
            full = f"{file.package}.{service.name}"
            for place, method in enumerate(service.method):
                if full in routed:
                    yield full, method, _text(file, number, place)


def _text(file: FileDescriptorProto, service: int, method: int) -> str:
    return comments_of(file).get((SERVICE_PATH, service, METHOD_PATH, method), "")


def _operation(
    service: str,
    method: MethodDescriptorProto,
    text: str,
    template: str,
    schemas: Schemas,
    policy: Policy,
) -> dict[str, Any]:
    rule = method.options.Extensions[annotations_pb2.http]
    request = schemas.message(method.input_type)
    in_path = re.findall(r"\{([a-z_]+)\}", template)
    answer: dict[str, Any] = schemas.reference(method.output_type)
    if method.server_streaming:
        answer = {"type": "array", "items": answer, "description": "Grows while the call lasts."}
    made: dict[str, Any] = {
        "operationId": f"{service.rpartition('.')[2]}_{method.name}",
        "tags": [next(s.path for s in SERVICES if s.grpc_service == service)],
        "summary": text.partition(";")[0],
        "description": text,
        "x-role": policy.least_role(service, method.name),
        "x-token-on-loopback": policy.needs_token(service, method.name, "loopback"),
        "x-grpc-method": f"{service}/{method.name}",
        "security": _security(policy, service, method.name),
        "parameters": [
            _parameter(field, schemas, request, "path") for field in _fields(request, in_path)
        ],
    }
    if rule.body == "*":
        body = schemas.without(method.input_type, in_path)
        made["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": body}},
        }
    elif rule.body:
        raise ValueError(f"{service}/{method.name}: a body other than * is not understood")
    else:
        rest = [field.name for field in request.field if field.name not in in_path]
        made["parameters"] += [
            _parameter(field, schemas, request, "query") for field in _fields(request, rest)
        ]
    made["responses"] = {
        "200": {
            "description": schemas.text(method.output_type),
            "content": {"application/json": {"schema": answer}},
        },
        **{code: {"$ref": f"#/components/responses/{code}"} for code in REFUSALS},
        "default": {
            "description": "Any other failure.",
            "content": {"application/json": {"schema": schemas.reference(ERROR)}},
        },
    }
    return made


def _security(policy: Policy, service: str, method: str) -> list[dict[str, list[str]]]:
    """Return what a caller shows: a token, or also nothing where one door asks for none."""
    if policy.least_role(service, method) == OPEN:
        return [{}]
    token: list[dict[str, list[str]]] = [{"token": []}]
    return token if policy.needs_token(service, method, "loopback") else [{}, *token]


def _fields(message: DescriptorProto, names: list[str]) -> list[FieldDescriptorProto]:
    known = {field.name: field for field in message.field}
    return [known[name] for name in names]


def _parameter(
    field: FieldDescriptorProto, schemas: Schemas, message: DescriptorProto, place: str
) -> dict[str, Any]:
    schema = schemas.field(message, field)
    text = schema.pop("description", "")
    return {
        "name": field.name,
        "in": place,
        "required": place == "path" or schemas.required(field),
        "description": text,
        "schema": schema,
    }


def main() -> None:
    """Write the document."""
    FILE.write_text(render(descriptor.contracts(), policies.load()))


if __name__ == "__main__":
    main()
