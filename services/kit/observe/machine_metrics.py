"""What a process takes of its machine beyond CPU and memory: disk and network, and its limit."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import psutil
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

_UNLIMITED = 1 << 60
"""Version 1 of control groups says a number like this where no limit is set."""
_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def memory_limit(files: Iterable[Path] = _LIMITS) -> int:
    """Return the bytes of memory that the process may have: the container's, else the machine's."""
    for file in files:
        try:
            text = file.read_text().strip()
        except OSError:
            continue
        if text.isdigit() and int(text) < _UNLIMITED:
            return min(int(text), psutil.virtual_memory().total)
    return int(psutil.virtual_memory().total)


class MachineCollector(Collector):
    """Reads the numbers when somebody scrapes; what the system does not tell is left out."""

    def __init__(self) -> None:
        """Of this very process."""
        self._process = psutil.Process()
        self._limit = memory_limit()

    def collect(self) -> Iterable[Metric]:
        """Return every metric as it is now."""
        yield _gauge("process_memory_limit_bytes", "Memory that it may have.", self._limit)
        yield from self._files()
        network = psutil.net_io_counters()
        if network is not None:
            received, sent = "network_received_bytes", "network_sent_bytes"
            yield _counter(received, "Received by the machine or pod.", network.bytes_recv)
            yield _counter(sent, "Sent by the machine or pod.", network.bytes_sent)
        room = psutil.disk_usage(str(Path.cwd()))
        yield _gauge("disk_size_bytes", "Size of the disk of the working folder.", room.total)
        yield _gauge("disk_free_bytes", "Free room there.", room.free)

    def _files(self) -> Iterable[Metric]:
        if not hasattr(self._process, "io_counters"):
            return
        try:
            done = self._process.io_counters()
        except psutil.AccessDenied:
            return
        yield _counter("process_read_bytes", "Read from disks.", done.read_bytes)
        yield _counter("process_written_bytes", "Written to disks.", done.write_bytes)


def _counter(name: str, doc: str, value: float) -> CounterMetricFamily:
    return CounterMetricFamily(name, doc, value=value)


def _gauge(name: str, doc: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, doc, value=value)
