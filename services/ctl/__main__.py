"""`qt`: the operator's command."""

from __future__ import annotations

import sys

from services.ctl.changes import changing
from services.ctl.commands import table
from services.ctl.refused import Refused
from services.ctl.servers.command import ServerFailed

app = table.listed()


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
    if changing(sys.argv[1:]):
        _record(done=not code, outcome=outcome)
    sys.exit(code)


def _record(*, done: bool, outcome: str) -> None:
    # the bus is imported only by a command that has something to tell
    from services.ctl import operators

    try:
        operators.record(sys.argv[1:], done=done, outcome=outcome)
    except OSError as error:
        sys.stderr.write(f"qt: this command could not be written down: {error}\n")


if __name__ == "__main__":
    main()
