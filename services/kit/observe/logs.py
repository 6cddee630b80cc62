"""Structured logs on stdout: JSON by default, with the trace id of what is being done."""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from services.kit.observe.trace_context import current


def _trace_ids(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    here = current()
    if here is not None and "trace_id" not in event:
        event["trace_id"], event["span_id"] = here.trace_id, here.span_id
    return event


def configure(service: str, instance: str, level: str, fmt: str) -> None:
    """Send all logs, the libraries' too, through one chain. May be called again."""

    def names(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
        event["service"], event["instance"] = service, instance
        return event

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        names,
        _trace_ids,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer: Processor = (
        structlog.processors.JSONRenderer(default=str)
        if fmt == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty())
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
            foreign_pre_chain=shared,
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    set_level(level)


def silence() -> None:
    """Let nothing pass, as cheaply as can be: for many simulated runs in one process."""

    def drop(_logger: WrappedLogger, _name: str, _event: EventDict) -> EventDict:
        raise structlog.DropEvent

    structlog.configure(
        processors=[drop],
        wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL),
        logger_factory=lambda *_: None,
        cache_logger_on_first_use=False,
    )


def set_level(level: str) -> None:
    """Change the level of the running process."""
    root = logging.getLogger()
    root.setLevel(level)
    for chatty in ("asyncio", "nats", "aiohttp.access", "hpack"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, root.level))


def get_logger(name: str) -> FilteringBoundLogger:
    """Return a logger; call it with an event name and keys: `log.info("order_sent", id=...)`."""
    logger: Any = structlog.stdlib.get_logger(name)
    return logger  # type: ignore[no-any-return]
