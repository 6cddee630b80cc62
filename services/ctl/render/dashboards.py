"""The dashboards as Grafana provisions them, a step of `make gen`.

They are checked in; a test makes them again and fails on a difference.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    dashboard,
    heatmap,
    prometheus,
    stat,
    timeseries,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DataSourceRef, GridPos
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from services.ctl.render.boards import DASHBOARDS
from services.ctl.render.boards.panel import Dashboard, Kind, Panel

FOLDER = Path(__file__).resolve().parents[3] / "mesh" / "observability" / "grafana" / "dashboards"
HEIGHT = 8
COLUMNS = 24
_BUILDERS: dict[Kind, Any] = {
    Kind.LINES: timeseries.Panel,
    Kind.NUMBER: stat.Panel,
    Kind.SHARES: bargauge.Panel,
    Kind.HEAT: heatmap.Panel,
}
_SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")


def files() -> Mapping[str, str]:
    """Return the text of each dashboard by its file's name."""
    return {f"{board.uid}.json": render(board) for board in DASHBOARDS}


def render(board: Dashboard) -> str:
    """Return one dashboard as JSON."""
    made = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .description(board.description)
        .tags(["quantum-trader", "generated"])
        .readonly()
        .refresh("10s")
        .time("now-1h", "now")
        .timezone("utc")
        .with_variable(
            dashboard.DatasourceVariable("datasource").label("Source").type("prometheus")
        )
    )
    x = y = 0
    for number, panel in enumerate(board.panels, 1):
        if x + panel.width > COLUMNS:
            x, y = 0, y + HEIGHT
        made = made.with_panel(_panel(panel, number, x, y))
        x += panel.width
    return json.dumps(made.build(), cls=JSONEncoder, indent=1, sort_keys=True) + "\n"


def _panel(panel: Panel, number: int, x: int, y: int) -> Any:
    made = (
        _BUILDERS[panel.kind]()
        .id(number)
        .title(panel.title)
        .description(panel.description)
        .unit(panel.unit)
        .datasource(_SOURCE)
        .grid_pos(GridPos(h=HEIGHT, w=panel.width, x=x, y=y))
    )
    if panel.kind is Kind.LINES:
        made = made.fill_opacity(8)
    elif panel.kind in (Kind.NUMBER, Kind.SHARES):
        made = made.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    for name, query in zip("ABCDEFGH", panel.queries, strict=False):
        target = prometheus.Dataquery().ref_id(name).expr(query.expr).legend_format(query.legend)
        target = target.datasource(_SOURCE).range()
        if panel.kind is Kind.HEAT:
            target = target.format(PromQueryFormat.HEATMAP)
        made = made.with_target(target)
    return made


def main() -> None:
    """Write all of them."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in files().items():
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    main()
