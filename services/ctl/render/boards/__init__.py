"""What the Grafana dashboards show, as plain values."""

from __future__ import annotations

from services.ctl.render.boards.models import MODELS
from services.ctl.render.boards.resources import RESOURCES
from services.ctl.render.boards.risk import RISK
from services.ctl.render.boards.system import SYSTEM
from services.ctl.render.boards.trading import TRADING

DASHBOARDS = (SYSTEM, TRADING, MODELS, RISK, RESOURCES)
