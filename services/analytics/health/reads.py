"""What the rules of health ask the ledger: signals, fills and the day's profit."""

from __future__ import annotations

from decimal import Decimal

from services.analytics.core.standing import Trading
from services.kit.postgres.db import Database

_TRADING = """
with clock as (select greatest(
    (select max(timestamp) from events where type = 'signal.generated'),
    (select max(timestamp) from events where type = 'round.decided')) as now)
select
    (select count(*) from events, clock where type = 'signal.generated'
        and timestamp > clock.now - interval '1 hour') as signals,
    (select count(*) from events, clock where type = 'fill.recorded'
        and timestamp > clock.now - interval '1 hour') as fills,
    (select count(*) from events, clock where type = 'round.decided'
        and timestamp <= clock.now - interval '1 hour'
        and timestamp > clock.now - interval '2 hours') as earlier_rounds
"""
_REFUSED = """
select data ->> 'rule' as rule, count(*) as times from events
where type = 'risk.decided' and data ->> 'approved' = 'false'
    and timestamp > (select max(timestamp) from events where type = 'round.decided')
        - interval '1 hour'
group by 1 order by 2 desc limit 3
"""
_LOSSES = """
select account, day, sum(net_pnl) as net from daily_performance
where day = (select max(time)::date from portfolio) group by account, day
"""


class HealthReads:
    """Reads."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def trading(self) -> Trading:
        """Return what came of the last hour of market time, and the day's profit."""
        pool = self._database.pool
        row = await pool.fetchrow(_TRADING)
        silent = row["signals"] and not row["fills"]
        refused = await pool.fetch(_REFUSED) if silent else []
        losses = await pool.fetch(_LOSSES)
        return Trading(
            signals=row["signals"],
            fills=row["fills"],
            whole_hour=row["earlier_rounds"] > 0,
            refused=tuple(f"{r['rule']} {r['times']} times" for r in refused),
            losses=tuple((r["account"], Decimal(r["net"] or 0)) for r in losses),
        )
