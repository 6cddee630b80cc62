"""A process shows its memory limit: the container's, where there is one below the machine's."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
from prometheus_client import generate_latest

from services.kit.observe.machine_metrics import memory_limit
from services.kit.observe.metrics import Metrics

TOTAL = psutil.virtual_memory().total


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("1048576\n", 1048576),
        ("max\n", TOTAL),
        ("9223372036854771712\n", TOTAL),
        (f"{TOTAL * 4}\n", TOTAL),
        ("", TOTAL),
    ],
)
def test_the_limit_is_the_least(tmp_path: Path, text: str, limit: int) -> None:
    file = tmp_path / "memory.max"
    file.write_text(text)
    assert memory_limit((tmp_path / "absent", file)) == limit


def test_the_first_file_that_says_a_limit_counts(tmp_path: Path) -> None:
    second, first = tmp_path / "memory.limit_in_bytes", tmp_path / "memory.max"
    first.write_text("max")
    second.write_text("4096")
    assert memory_limit((first, second)) == 4096


def test_every_process_shows_them() -> None:
    text = generate_latest(Metrics("any").registry).decode()
    shown = {
        line.split(" ")[0]: float(line.split(" ")[1])
        for line in text.splitlines()
        if line[0] != "#"
    }
    assert 0 < shown["process_resident_memory_bytes"] < shown["process_memory_limit_bytes"] <= TOTAL
    assert 0 < shown["disk_free_bytes"] <= shown["disk_size_bytes"]
    assert shown["network_received_bytes_total"] >= 0
    assert shown["process_written_bytes_total"] >= 0
