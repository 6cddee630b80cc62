"""Parts of a backup that need no server: secrets left out, timers, what old archives go."""

from __future__ import annotations

import gzip
import tarfile
from datetime import UTC, datetime
from pathlib import Path

import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from services.ctl.__main__ import app
from services.ctl.backup import archive, schedule, take
from services.ctl.backup.copies import without_secrets
from tests.support.cluster import assert_schema

SETTINGS = """\
# BINANCE_API_KEY is asked for by `qt doctor`
LOG_LEVEL=INFO
BINANCE_API_KEY=abc
BINANCE_API_SECRET=def
NATS_NKEY_FILE=/run/secrets/seed
ALERT_EMAIL_PASSWORD=ghi
ALERT_SLACK_URL=https://hooks.example/T/B
EXEC_RISK_POSTGRES_URL=postgresql://exec_risk:jkl@db:5432/quantum_trader
EMPTY_TOKEN=
"""


def test_settings_keep_everything_but_secrets() -> None:
    kept = without_secrets(SETTINGS)
    for secret in ("abc", "def\n", "ghi", "hooks.example", "jkl"):
        assert secret not in kept
    for line in ("LOG_LEVEL=INFO", "NATS_NKEY_FILE=/run/secrets/seed", "EMPTY_TOKEN="):
        assert line in kept
    assert "postgresql://exec_risk@db:5432/quantum_trader" in kept
    assert len(kept.splitlines()) == len(SETTINGS.splitlines())


@given(st.text(alphabet="abcXYZ019/+:@= #'", min_size=1, max_size=40))
def test_no_value_of_a_secret_passes(value: str) -> None:
    kept = without_secrets(f"A_PASSWORD=<{value}>\n")
    assert f"<{value}>" not in kept


def test_an_archive_is_an_ordinary_one_to_others(tmp_path: Path) -> None:
    """Its checksum lies in a part that unpackers skip."""
    staging = tmp_path / "staging"
    (staging / "folder").mkdir(parents=True)
    (staging / "folder" / "file").write_text("content")
    manifest = archive.Manifest("now", "b", "v", False, archive.describe(staging))
    written = tmp_path / f"a{archive.suffix()}"
    archive.write(written, staging, manifest)
    assert archive.verify(written) == manifest
    target = tmp_path / f"a{archive.GZ}"
    archive.write(target, staging, manifest)
    assert archive.verify(target) == manifest
    with gzip.open(target) as opened, tarfile.open(fileobj=opened) as packed:
        assert packed.getnames() == ["manifest.json", "folder/file"]


def test_archives_are_found_by_their_names(tmp_path: Path) -> None:
    names = ("quantum_trader_20260501_030000.tar.gz", "quantum_trader_20260430_030000.tar.zst")
    for name in (*names, "quantum_trader_notes.tar.gz", "other.tar.gz", "quantum_trader_2026.zip"):
        (tmp_path / name).touch()
    found = take.listed(tmp_path)
    assert [path.name for path in found] == sorted(names)
    assert take.taken_at(found[1]) == datetime(2026, 5, 1, 3, tzinfo=UTC)


def test_a_timer_for_each_who_can_start_it() -> None:
    timer = schedule.Timer("/opt/qt", Path("/srv/quantum home"), hour=3)
    assert timer.cron() == "0 3 * * * /opt/qt backup --home='/srv/quantum home'\n"
    assert "OnCalendar=*-*-* 03:00:00" in timer.systemd()
    assert "-Daily -At 3am" in timer.windows()
    claim, job, *policies = yaml.safe_load_all(timer.cronjob())
    for resource in (claim, job, *policies):
        assert_schema(resource)
    assert (claim["kind"], job["spec"]["schedule"]) == ("PersistentVolumeClaim", "0 3 * * *")
    for kind in ("cron", "systemd", "cronjob", "windows"):
        told = CliRunner().invoke(app, ["backup", "schedule", kind])
        assert told.exit_code == 0 and "backup" in told.output
