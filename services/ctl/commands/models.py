"""`qt models`: the models, by the commands that `lab` brings."""

from __future__ import annotations

import typer

from services.ctl.commands.learning import hits, retrain
from services.ctl.commands.report import performance
from services.lab.training.command import train

app = typer.Typer(help="The models: train them, see what they bring.", no_args_is_help=True)
app.command()(train)
app.command()(performance)
app.command()(hits)
app.command()(retrain)
