"""`qt models`: training of the models."""

from __future__ import annotations

import typer

app = typer.Typer(help="The models: train them.", no_args_is_help=True)


@app.command(
    context_settings={
        "allow_extra_args": True,
        "ignore_unknown_options": True,
        "help_option_names": [],
    }
)
def train(context: typer.Context) -> None:
    """Train the models on recorded candles and write an artifact.

    Example: qt models train --help
    """
    # Training drags in libraries that no other command needs to wait for.
    from services.lab.training import command

    typer.run(command.train) if not context.args else _with_arguments(command.train, context.args)


def _with_arguments(function: object, arguments: list[str]) -> None:
    inner = typer.Typer(add_completion=False)
    inner.command()(function)  # type: ignore[type-var]
    inner(arguments, prog_name="qt models train")
