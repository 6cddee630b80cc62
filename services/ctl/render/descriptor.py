"""Descriptors for the transcoder: the contracts, and a variant for the health ports."""

from __future__ import annotations

import functools
import re
from pathlib import Path

from google.api import annotations_pb2, http_pb2
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import FileDescriptor
from google.rpc import error_details_pb2, status_pb2

CONTRACTS = Path(__file__).resolve().parents[3] / "protos" / "gen" / "descriptor.binpb"
SHORT_PATHS = {"GetHealth": "/health", "GetReadiness": "/ready"}


@functools.cache
def _stored() -> bytes:
    return CONTRACTS.read_bytes()


def contracts() -> descriptor_pb2.FileDescriptorSet:
    """Return all contracts, with the error details that answers carry but no contract names."""
    found = descriptor_pb2.FileDescriptorSet.FromString(_stored())
    for file in (error_details_pb2.DESCRIPTOR, status_pb2.DESCRIPTOR):
        _add(found, file)
    return found


def _add(found: descriptor_pb2.FileDescriptorSet, file: FileDescriptor) -> None:
    """Add a file after all that it imports, which is the order that Envoy reads."""
    if any(known.name == file.name for known in found.file):
        return
    for imported in file.dependencies:
        _add(found, imported)
    file.CopyToProto(found.file.add())


def short_health() -> descriptor_pb2.FileDescriptorSet:
    """Return the contracts with only the health methods, at `/health` and `/ready`."""
    found = contracts()
    for file in found.file:
        for service in file.service:
            kept = [method for method in service.method if method.name in SHORT_PATHS]
            for method in kept:
                rule = http_pb2.HttpRule(get=SHORT_PATHS[method.name])
                method.options.Extensions[annotations_pb2.http].CopyFrom(rule)
            del service.method[:]
            service.method.extend(kept)
    return found


def kinds(service: str) -> dict[str, str]:
    """Return what each method of a service is: `stream`, `read` (HTTP GET) or `write`."""
    for file in contracts().file:
        for candidate in file.service:
            if f"{file.package}.{candidate.name}" == service:
                return {method.name: _kind(method) for method in candidate.method}
    raise KeyError(f"no contract has the service {service}")


def _kind(method: descriptor_pb2.MethodDescriptorProto) -> str:
    if method.server_streaming or method.client_streaming:
        return "stream"
    rule = method.options.Extensions[annotations_pb2.http]
    return "read" if rule.WhichOneof("pattern") == "get" else "write"


def rest_paths(service: str, method: str) -> tuple[tuple[str, str], ...]:
    """Return verb and path template of each REST form of a method; none when it has no REST."""
    return _all_rest_paths().get((service, method), ())


@functools.cache
def _all_rest_paths() -> dict[tuple[str, str], tuple[tuple[str, str], ...]]:
    """Return the REST forms by service and method: a running system asks twice a second."""
    return {
        (f"{file.package}.{service.name}", method.name): tuple(_rest(method))
        for file in contracts().file
        for service in file.service
        for method in service.method
    }


def _rest(method: descriptor_pb2.MethodDescriptorProto) -> list[tuple[str, str]]:
    rule = method.options.Extensions[annotations_pb2.http]
    rules = [rule, *rule.additional_bindings]
    kinds = [(one, one.WhichOneof("pattern")) for one in rules]
    return [(kind.upper(), getattr(one, kind)) for one, kind in kinds if kind]


def as_regex(template: str) -> str:
    """Return the expression that the paths of a template match whole; a variable is one part."""
    parts = re.split(r"\{[a-z_]+\}", template)
    if any("{" in part or "*" in part for part in parts):
        raise ValueError(f"{template}: only plain variables are understood")
    return "[^/]+".join(re.escape(part) for part in parts)
