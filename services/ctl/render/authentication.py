"""Who is it, and may they: token checks (JWT) and role checks (RBAC) of the gateway's doors.

Tokens are checked by a file of its own for each door (ECDS), which Envoy reads again when it is
renamed into place: so keys rotate while it runs. Roles are checked behind the transcoder, which
has by then made one gRPC path of gRPC, gRPC-Web and JSON calls alike.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from services.ctl import tokens
from services.ctl.policy import ANY, INSIDE, OPEN, Door, Policy
from services.ctl.render import descriptor
from services.ctl.render.pieces import piece
from services.ctl.settings import GatewaySettings
from services.ctl.supervisor.home import write_whole
from services.kit.caller import SUBJECT_HEADER

DOORS: tuple[Door, ...] = ("loopback", "tls")
ROLE_HEADER = "x-token-role"
"""Set from the token's claims; what a caller sends under these names is dropped."""
OPENAPI_PATH = "/openapi.json"
OIDC_CLUSTER = "oidc"
DNS = "DNS"
TYPES = "type.googleapis.com/"
JWT = "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication"
OWN, OTHER = "own", "oidc"
"""Names of the providers: our own issuer, the one of the settings."""


def folder(envoy: Path) -> Path:
    """Where Envoy watches for new token checks."""
    return envoy / "ecds"


def write(
    envoy: Path, policy: Policy, settings: GatewaySettings, jwks: Mapping[str, Any]
) -> list[Path]:
    """Put the token checks of both doors in place; return the files that changed."""
    folder(envoy).mkdir(parents=True, exist_ok=True)
    changed = []
    for door in DOORS:
        resource = {
            "@type": f"{TYPES}envoy.config.core.v3.TypedExtensionConfig",
            "name": f"authentication-{door}",
            "typed_config": _token_check(policy, settings, jwks, door),
        }
        text = json.dumps({"resources": [resource]}, indent=1) + "\n"
        file = folder(envoy) / f"authentication-{door}.json"
        if not file.exists() or file.read_text() != text:
            write_whole(file, text, 0o600)
            changed.append(file)
    return changed


def token_filter(envoy: Path, door: Door) -> dict[str, Any]:
    """Return the filter that takes its configuration from the door's file."""
    file = folder(envoy) / f"authentication-{door}.json"
    return {
        "name": f"authentication-{door}",
        "config_discovery": {
            "config_source": {
                "resource_api_version": "V3",
                "path_config_source": {
                    "path": str(file),
                    "watched_directory": {"path": str(file.parent)},
                },
            },
            "type_urls": [TYPES + JWT],
        },
    }


def _token_check(
    policy: Policy, settings: GatewaySettings, jwks: Mapping[str, Any], door: Door
) -> dict[str, Any]:
    known = {OWN: _own(jwks)}
    if settings.oidc_issuer:
        # our own issuer serves the operator of this machine, who has the keys anyway
        known = {OTHER: _oidc(settings)} | (known if door == "loopback" else {})
    valid = [{"provider_name": name} for name in known]
    required = valid[0] if len(valid) == 1 else {"requires_any": {"requirements": valid}}
    offered = {"requires_any": {"requirements": [*valid, {"allow_missing": {}}]}}
    rules = [
        {"match": match, "requires": required if needed else offered}
        for match, needed in _matches(policy, door)
    ]
    rest = offered if door == "loopback" else required
    return {
        "@type": TYPES + JWT,
        "providers": known,
        "rules": [*rules, {"match": {"prefix": "/"}, "requires": rest}],
        "bypass_cors_preflight": True,
    }


def _provider() -> dict[str, Any]:
    return {
        "forward": False,
        "require_expiration": True,
        "clock_skew_seconds": tokens.SKEW_SECONDS,
        # without this a token is also taken from a query parameter, which ends up in logs
        "from_headers": [{"name": "authorization", "value_prefix": "Bearer "}],
    }


def _own(jwks: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **_provider(),
        "issuer": tokens.ISSUER,
        "audiences": [tokens.AUDIENCE],
        "max_lifetime": f"{tokens.LONGEST_SECONDS + tokens.SKEW_SECONDS}s",
        "payload_in_metadata": OWN,
        "claim_to_headers": _claims("role"),
        "local_jwks": {"inline_string": json.dumps(jwks)},
        # the other provider has none: what was found good would outlive the key that it drops;
        # our own keys come with a new configuration, which begins a new cache
        "jwt_cache_config": {"jwt_cache_size": 1_000},
    }


def _oidc(settings: GatewaySettings) -> dict[str, Any]:
    return {
        **_provider(),
        "issuer": settings.oidc_issuer,
        "audiences": [settings.oidc_audience],
        "payload_in_metadata": OTHER,
        "claim_to_headers": _claims(settings.oidc_role_claim),
        "remote_jwks": {
            "http_uri": {
                "uri": settings.oidc_jwks_uri,
                "cluster": OIDC_CLUSTER,
                "timeout": "2s",
            },
            "cache_duration": f"{settings.oidc_keys_seconds}s",
            "async_fetch": {"failed_refetch_duration": "1s"},
        },
    }


def _claims(role: str) -> list[dict[str, str]]:
    return [
        {"header_name": SUBJECT_HEADER, "claim_name": "sub"},
        {"header_name": ROLE_HEADER, "claim_name": role},
    ]


def _matches(policy: Policy, door: Door) -> Iterator[tuple[dict[str, Any], bool]]:
    """Yield how each method is called, and whether that takes a token.

    This only decides between "who are you?" and "you may not": what slips through here, by a
    spelling of a path that is not foreseen, is stopped by the role check behind the transcoder.
    """
    for service, method in _routed(policy):
        needed = policy.needs_token(service, method, door)
        path = f"/{service}/"
        match = {"prefix": path} if method == ANY else {"path": path + method}
        yield match, needed
        for verb, pattern in descriptor.rest_paths(service, method):
            header = {"name": ":method", "string_match": {"exact": verb}}
            regex = {"regex": descriptor.as_regex(pattern)}
            yield {"safe_regex": regex, "headers": [header]}, needed


def _routed(policy: Policy) -> Iterator[tuple[str, str]]:
    for service, listed in policy.methods.items():
        for method, role in listed.items():
            if role != INSIDE:
                yield service, method


def role_filter(policy: Policy, settings: GatewaySettings, door: Door) -> dict[str, Any]:
    """Return the role check: who is not allowed by name is refused."""
    free = [(s, m) for s, m in _routed(policy) if not policy.needs_token(s, m, door)]
    policies: dict[str, Any] = {}
    permissions = [_permission(s, m) for s, m in free]
    document = {"url_path": {"path": {"exact": OPENAPI_PATH}}}
    if door == "loopback":
        permissions.append(document)
    policies["open"] = {"permissions": permissions, "principals": [{"any": True}]}
    for number, role in enumerate(policy.roles):
        named = [pair for pair in _routed(policy) if policy.least_role(*pair) in (role, OPEN)]
        permissions = [_permission(s, m) for s, m in named if (s, m) not in free]
        if number == 0 and door == "tls":
            permissions.append(document)
        if permissions:
            principals = _principals(policy.roles[number:], settings, door)
            policies[role] = {"permissions": permissions, "principals": principals}
    return piece("filter-roles", policies=json.dumps(policies))


def _permission(service: str, method: str) -> dict[str, Any]:
    path = {"prefix": f"/{service}/"} if method == ANY else {"exact": f"/{service}/{method}"}
    return {"url_path": {"path": path}}


def _principals(
    roles: tuple[str, ...], settings: GatewaySettings, door: Door
) -> list[dict[str, Any]]:
    found = []
    if not settings.oidc_issuer or door == "loopback":
        found += [_claim(OWN, ["role"], {"string_match": {"exact": role}}) for role in roles]
    if settings.oidc_issuer:
        path = settings.oidc_role_claim.split(".")
        for role in roles:
            one = {"string_match": {"exact": role}}
            found += [
                _claim(OTHER, path, one),
                _claim(OTHER, path, {"list_match": {"one_of": one}}),
            ]
    return found


def _claim(provider: str, path: list[str], value: dict[str, Any]) -> dict[str, Any]:
    matcher = {
        "filter": "envoy.filters.http.jwt_authn",
        "path": [{"key": key} for key in (provider, *path)],
        "value": value,
    }
    return {"sourced_metadata": {"metadata_matcher": matcher}}


def oidc_clusters(settings: GatewaySettings, system_ca: str) -> list[dict[str, Any]]:
    """Return the cluster from which the keys of the OIDC provider are fetched, if there is one."""
    if not settings.oidc_jwks_uri:
        return []
    uri = urlsplit(settings.oidc_jwks_uri)
    host, secure = uri.hostname or "", uri.scheme == "https"
    made = piece(
        "cluster-oidc",
        name=OIDC_CLUSTER,
        host=json.dumps(host),
        port=uri.port or (443 if secure else 80),
        ca=json.dumps(settings.oidc_ca_file or system_ca),
        names=json.dumps([{"san_type": _kind(host), "matcher": {"exact": host}}]),
    )
    if not secure:
        del made["transport_socket"]
    elif _kind(host) != DNS:
        del made["transport_socket"]["typed_config"]["sni"]
    return [made]


def _kind(host: str) -> str:
    """Return what a host is in a certificate, as Envoy says it."""
    try:
        ip_address(host)
    except ValueError:
        return DNS
    return "IP_ADDRESS"
