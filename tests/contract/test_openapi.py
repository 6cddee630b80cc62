"""The OpenAPI document is fresh, whole and valid."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from jsonschema import Draft202012Validator

from services.catalog.processes import SERVICES
from services.ctl import policy
from services.ctl.render import descriptor, openapi

TABLE = policy.load()
DOCUMENT: dict[str, Any] = json.loads(openapi.FILE.read_text())


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, verbs in DOCUMENT["paths"].items():
        for verb, operation in verbs.items():
            yield path, verb, operation


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def test_it_is_what_the_contracts_say_now() -> None:
    fresh = openapi.render(descriptor.contracts(), TABLE)
    assert openapi.FILE.read_text() == fresh, "run `make gen`"


def test_every_rest_method_is_in_it_once() -> None:
    wanted = {
        (path, verb.lower(), f"{service.grpc_service}/{method}")
        for service in SERVICES
        for method in descriptor.kinds(service.grpc_service)
        for verb, path in descriptor.rest_paths(service.grpc_service, method)
    }
    assert {(p, v, o["x-grpc-method"]) for p, v, o in operations()} == wanted
    ids = [operation["operationId"] for _, _, operation in operations()]
    assert len(set(ids)) == len(ids)


def test_every_reference_leads_somewhere_and_every_schema_is_used() -> None:
    found = set(references(DOCUMENT))
    for reference in found:
        place: Any = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]
    prefix = "#/components/schemas/"
    used = {r.removeprefix(prefix) for r in found if r.startswith(prefix)}
    assert used == set(DOCUMENT["components"]["schemas"])


def test_every_schema_is_one_and_every_method_field_and_parameter_is_described() -> None:
    for name, schema in DOCUMENT["components"]["schemas"].items():
        Draft202012Validator.check_schema(schema)
        if name.startswith("quantum."):
            assert schema["description"], name
            for field, inner in schema.get("properties", {}).items():
                assert inner.get("description"), f"{name}.{field}"
    for path, _, operation in operations():
        assert operation["description"], path
        declared = {p["name"] for p in operation["parameters"] if p["in"] == "path"}
        assert {f"{{{name}}}" for name in declared} == {
            part for part in path.split("/") if part.startswith("{")
        }
        for parameter in operation["parameters"]:
            Draft202012Validator.check_schema(parameter["schema"])
            assert parameter["description"], f"{path} {parameter['name']}"


def test_security_and_role_are_those_of_the_table() -> None:
    for path, _, operation in operations():
        service, method = operation["x-grpc-method"].split("/")
        assert operation["x-role"] == TABLE.least_role(service, method)
        nothing = {} in operation["security"]
        assert nothing is not TABLE.needs_token(service, method, "loopback"), path
        token = {"token": []} in operation["security"]
        assert token is TABLE.needs_token(service, method, "tls"), path
