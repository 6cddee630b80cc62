"""`qt`: the operator's command."""

from __future__ import annotations

import sys

import typer

from services.ctl.commands import (
    alerts,
    certs,
    check,
    db,
    db_upkeep,
    diagnose,
    doctor,
    events,
    health,
    identities,
    logs,
    models,
    money,
    operate,
    orders,
    policy,
    reconcile,
    report,
    run,
    setup,
    simulate,
    stats,
    switches,
    token,
    trace,
    up,
    venue,
    verify,
)
from services.ctl.servers.command import ServerFailed
from services.ctl.supervisor.home import Refused

app = typer.Typer(
    help="Runs and operates Quantum Trader.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for command in (
    up.up,
    operate.down,
    operate.ps,
    logs.logs,
    stats.stats,
    operate.restart,
    operate.scale,
    money.positions,
    money.pnl,
    money.signals,
    report.report,
    report.trade,
    money.opportunities,
    verify.verify,
    health.health,
    doctor.doctor,
    simulate.simulate,
    reconcile.reconcile,
    trace.trace,
    run.run,
    identities.streams,
    identities.identities,
    setup.setup,
):
    app.command()(command)
for tending in (
    db_upkeep.analyze,
    db_upkeep.vacuum,
    db_upkeep.reindex,
    db_upkeep.size,
    db_upkeep.migrate,
    db_upkeep.psql,
):
    db.app.command()(tending)
app.add_typer(alerts.app, name="alerts")
app.add_typer(certs.app, name="certs")
app.add_typer(check.app, name="check")
app.add_typer(db.app, name="db")
app.add_typer(diagnose.app, name="diagnose")
app.add_typer(events.app, name="events")
app.add_typer(events.dlq, name="dlq")
app.add_typer(models.app, name="models")
app.add_typer(orders.app, name="order")
app.add_typer(policy.app, name="policy")
app.add_typer(token.app, name="token")
app.add_typer(venue.app, name="venue")
app.add_typer(switches.emergency, name="emergency")
app.add_typer(switches.state, name="state")


def main() -> None:
    """Run a command; what cannot be done is one line on stderr and exit code 2."""
    try:
        app(prog_name="qt")
    except (Refused, ServerFailed) as refusal:
        sys.stderr.write(f"qt: {refusal}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
