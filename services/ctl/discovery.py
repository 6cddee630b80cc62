"""Asks an OIDC provider where its keys are (OpenID Connect Discovery 1.0, section 4)."""

from __future__ import annotations

import json
import ssl
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from services.ctl.settings import GatewaySettings, require_secure
from services.ctl.supervisor.home import Refused

WELL_KNOWN = "/.well-known/openid-configuration"
SECONDS = 5.0
LARGEST = 1 << 20
"""Bytes that are read of an answer."""


def discovered(settings: GatewaySettings) -> GatewaySettings:
    """Return the settings with the address of the provider's keys; may block for some seconds.

    Refused: the provider does not answer, or answers for another issuer.
    """
    if not settings.oidc_issuer or settings.oidc_jwks_uri:
        return settings
    told = _document(settings)
    if told.get("issuer") != settings.oidc_issuer:
        raise Refused(
            f"OIDC_ISSUER={settings.oidc_issuer}: it calls itself {told.get('issuer')!r};"
            " both must be the same to the letter"
        )
    found = str(told.get("jwks_uri", ""))
    try:
        require_secure("its jwks_uri", found)
    except ValueError as error:
        raise Refused(f"OIDC_ISSUER={settings.oidc_issuer}: {error}") from None
    return settings.model_copy(update={"oidc_jwks_uri": found})


def _document(settings: GatewaySettings) -> dict[str, Any]:
    uri = urlsplit(settings.oidc_issuer)
    host = uri.hostname or ""
    try:
        if uri.scheme == "https":
            trust = ssl.create_default_context(cafile=settings.oidc_ca_file or None)
            connection: HTTPConnection = HTTPSConnection(
                host, uri.port, timeout=SECONDS, context=trust
            )
        else:
            connection = HTTPConnection(host, uri.port, timeout=SECONDS)
        try:
            connection.request("GET", uri.path.rstrip("/") + WELL_KNOWN)
            answer = connection.getresponse()
            text = answer.read(LARGEST)
        finally:
            connection.close()
        if answer.status != 200:
            raise ValueError(f"answers {answer.status}")
        told = json.loads(text)
        if not isinstance(told, dict):
            raise ValueError("answers no object")
    except (OSError, HTTPException, ValueError) as error:
        raise Refused(
            f"OIDC_ISSUER={settings.oidc_issuer}: {WELL_KNOWN} cannot be read ({error});"
            " set OIDC_JWKS_URI to start without asking"
        ) from None
    return told
