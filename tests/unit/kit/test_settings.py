"""Settings: read once, inline comments parse, a bad value names its key."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field, SecretStr

from services.kit.settings import ProcessSettings, load


class Sample(ProcessSettings):
    ai_batch_size: int = Field(default=32, ge=1)
    api_secret: SecretStr = SecretStr("")


def test_inline_comments_of_an_env_file_parse(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("AI_BATCH_SIZE=64              # Larger batches = better throughput\n")
    assert Sample(_env_file=file).ai_batch_size == 64


def test_a_bad_value_stops_the_start_and_names_the_key(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AI_BATCH_SIZE", "many")
    with pytest.raises(SystemExit) as stopped:
        load(Sample)
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith("setting AI_BATCH_SIZE: ")


def test_a_bad_secret_is_not_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOG_LEVEL", "hunter2")
    with pytest.raises(SystemExit):
        load(Sample)
    assert "hunter2" not in capsys.readouterr().err


def test_settings_are_frozen() -> None:
    settings = Sample()
    with pytest.raises(ValueError, match="frozen"):
        settings.ai_batch_size = 1


class Unreadable(ProcessSettings):
    def __init__(self) -> None:
        raise PermissionError(13, "Permission denied", "/etc/quantum.env")


def test_an_unreadable_file_is_one_clear_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Incident 50: an env file of root's, mode 600, was a crash loop that nobody understood."""
    with pytest.raises(SystemExit) as stopped:
        load(Unreadable)
    assert stopped.value.code == 2
    told = capsys.readouterr().err
    assert told == "settings file /etc/quantum.env cannot be read: Permission denied\n"


def test_a_file_that_is_no_text_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Incident 50: what is in it is not printed."""
    (tmp_path / ".env").write_bytes(b"API_SECRET=hunter2\xff\xfe\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        load(Sample)
    told = capsys.readouterr().err
    assert "cannot be read" in told
    assert "hunter2" not in told
    assert told.count("\n") == 1
