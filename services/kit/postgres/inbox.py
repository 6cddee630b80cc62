"""Inbox: a message is handled once, however often it is delivered."""

from __future__ import annotations

import asyncpg


async def first_time(connection: asyncpg.Connection, consumer: str, message_id: str) -> bool:
    """Remember a message in the handler's own transaction; False when it was handled before."""
    inserted = await connection.fetchval(
        "insert into inbox (consumer, message_id) values ($1, $2)"
        " on conflict do nothing returning true",
        consumer,
        message_id,
    )
    return bool(inserted)
