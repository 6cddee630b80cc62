"""Settings of the gateway that contradict each other stop the start."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from services.ctl.discovery import discovered
from tests.support.front_door import settings

ISSUER = "https://login.example.com"


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"oidc_jwks_uri": f"{ISSUER}/keys"}, "OIDC_JWKS_URI goes with OIDC_ISSUER"),
        ({"oidc_issuer": "fund"}, "OIDC_ISSUER without OIDC_JWKS_URI must be an https address"),
        ({"oidc_issuer": "http://login.example.com"}, "keys read in the clear can be forged"),
        ({"oidc_issuer": "fund", "oidc_jwks_uri": "http://a.example/keys"}, "can be forged"),
        ({"oidc_issuer": "fund", "oidc_jwks_uri": "keys"}, "must be an https address"),
        ({"oidc_keys_seconds": 0}, "oidc_keys_seconds"),
        ({"gateway_names": " , "}, "GATEWAY_NAMES"),
    ],
)
def test_what_cannot_be_is_refused(values: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        settings(**values)


@pytest.mark.parametrize(
    "values",
    [{}, {"oidc_issuer": "fund", "oidc_jwks_uri": f"{ISSUER}/keys"}],
)
def test_nobody_is_asked_where_the_keys_are_known(values: dict[str, str]) -> None:
    chosen = settings(**values)
    assert discovered(chosen) is chosen
