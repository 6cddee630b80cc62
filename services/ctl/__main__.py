"""`qt`: the operator's command."""

from __future__ import annotations

import sys

import typer

from services.ctl import operators
from services.ctl.commands import (
    alerts,
    backup,
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
    modes,
    money,
    operate,
    orders,
    policy,
    reconcile,
    report,
    restart,
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
    restart.restart,
    backup.restore,
    modes.drain,
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
app.add_typer(backup.app, name="backup")
app.add_typer(certs.app, name="certs")
app.add_typer(check.app, name="check")
app.add_typer(db.app, name="db")
app.add_typer(diagnose.app, name="diagnose")
app.add_typer(events.app, name="events")
app.add_typer(events.dlq, name="dlq")
app.add_typer(modes.maintenance, name="maintenance")
app.add_typer(models.app, name="models")
app.add_typer(orders.app, name="order")
app.add_typer(policy.app, name="policy")
app.add_typer(token.app, name="token")
app.add_typer(venue.app, name="venue")
app.add_typer(switches.emergency, name="emergency")
app.add_typer(switches.state, name="state")


def main() -> None:
    """Run a command; what cannot be done is one line on stderr and exit code 2."""
    code, outcome = 0, ""
    try:
        app(prog_name="qt")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
        outcome = f"exit code {code}" if code else ""
    except (Refused, ServerFailed) as refusal:
        sys.stderr.write(f"qt: {refusal}\n")
        code, outcome = 2, str(refusal)
    try:
        operators.record(sys.argv[1:], done=not code, outcome=outcome)
    except OSError as error:
        sys.stderr.write(f"qt: this command could not be written down: {error}\n")
    sys.exit(code)


if __name__ == "__main__":
    main()
