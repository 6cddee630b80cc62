"""The account's key at the exchange: given itself, or as files that hold it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import SecretStr, model_validator

from services.kit.settings import OptionalPath, ProcessSettings

_KEYS = ("binance_api_key", "binance_api_secret")


class KeySettings(ProcessSettings):
    """Key and secret. A file is read once, at the start; its last line end does not count."""

    binance_api_key: SecretStr = SecretStr("")
    binance_api_secret: SecretStr = SecretStr("")
    binance_api_key_file: OptionalPath = None
    """Holds the key, in place of BINANCE_API_KEY."""
    binance_api_secret_file: OptionalPath = None
    """Holds the secret, in place of BINANCE_API_SECRET."""

    @model_validator(mode="before")
    @classmethod
    def _from_files(cls, given: Any) -> Any:
        held = dict(given)
        for name in _KEYS:
            file = held.get(f"{name}_file")
            if not file:
                continue
            if held.get(name):
                raise ValueError(f"{name.upper()} and {name.upper()}_FILE: set one of them")
            held[name] = _text(name, Path(file))
        return held


def _text(name: str, file: Path) -> str:
    try:
        return file.read_text().removesuffix("\n").removesuffix("\r")
    except (OSError, UnicodeDecodeError) as error:
        # its text may hold a piece of the file, so only its kind is told
        told = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise ValueError(f"{name.upper()}_FILE={file} cannot be read: {told}") from None
