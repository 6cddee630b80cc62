"""What the processes take of their machines."""

from __future__ import annotations

from services.ctl.render.boards.panel import RATE, Dashboard, Panel, Query

RESOURCES = Dashboard(
    "system-resources",
    "System Resources",
    "What the processes take of their machines.",
    (
        Panel(
            "CPU usage",
            "Cores in use by each process.",
            "none",
            (Query(f"rate(process_cpu_seconds_total{RATE})", "{{job}} {{instance}}"),),
        ),
        Panel(
            "Event loop delay",
            "What 99 of 100 calls wait at most until a process begins with them.",
            "s",
            (
                Query(
                    "histogram_quantile(0.99, sum by (job, instance, le)"
                    f" (rate(process_event_loop_delay_seconds_bucket{RATE})))",
                    "{{job}} {{instance}}",
                ),
            ),
        ),
        Panel(
            "Memory usage",
            "Resident memory of each process.",
            "bytes",
            (Query("process_resident_memory_bytes", "{{job}} {{instance}}"),),
        ),
        Panel(
            "Memory of the limit",
            "Resident memory over what the process may have; HighMemoryUsage is above 90 %.",
            "percentunit",
            (
                Query(
                    "process_resident_memory_bytes / (process_memory_limit_bytes > 0)",
                    "{{job}} {{instance}}",
                ),
            ),
        ),
        Panel(
            "Disk I/O",
            "Bytes a second that each process reads from and writes to disks.",
            "Bps",
            (
                Query(f"rate(process_read_bytes_total{RATE})", "read {{job}} {{instance}}"),
                Query(f"rate(process_written_bytes_total{RATE})", "written {{job}} {{instance}}"),
            ),
        ),
        Panel(
            "Network traffic",
            "Bytes a second of each machine or pod.",
            "Bps",
            (
                Query(f"rate(network_received_bytes_total{RATE})", "received {{instance}}"),
                Query(f"rate(network_sent_bytes_total{RATE})", "sent {{instance}}"),
            ),
        ),
        Panel(
            "Traffic through the proxies",
            "Bytes a second that callers send and get, by whose proxy it is.",
            "Bps",
            (
                Query(
                    f"sum by (service) (rate(envoy_http_downstream_cx_rx_bytes_total{RATE}))",
                    "received {{service}}",
                ),
                Query(
                    f"sum by (service) (rate(envoy_http_downstream_cx_tx_bytes_total{RATE}))",
                    "sent {{service}}",
                ),
            ),
        ),
        Panel(
            "Free disk",
            "Free share of the disk of each process's working folder.",
            "percentunit",
            (Query("disk_free_bytes / (disk_size_bytes > 0)", "{{job}} {{instance}}"),),
        ),
        Panel(
            "Open files",
            "File descriptors of each process; `qt doctor` shows the limit.",
            "short",
            (Query("process_open_fds", "{{job}} {{instance}}"),),
        ),
    ),
)
