"""What the account earned today, and how orders get to the exchange."""

from __future__ import annotations

from services.ctl.render.boards.panel import RATE, Dashboard, Kind, Panel, Query, quantiles

TRADING = Dashboard(
    "trading-performance",
    "Trading Performance",
    "What the account earned today, and how orders get to the exchange.",
    (
        Panel(
            "Daily PnL",
            "Since 00:00 UTC of market time, after commission and funding. LargeLoss: below -1000.",
            "currencyUSD",
            (Query("exec_risk_service_daily_pnl_usd", "{{instance}}"),),
            Kind.NUMBER,
            6,
        ),
        Panel(
            "Win rate",
            "Share of the positions closed since the start that earned something after costs.",
            "percentunit",
            (
                Query(
                    "sum(exec_risk_service_positions_won_total)"
                    " / (sum(exec_risk_service_positions_closed_total) > 0)",
                    "won",
                ),
            ),
            Kind.NUMBER,
            6,
        ),
        Panel(
            "Average profit per trade",
            "The day's profit over the positions closed today.",
            "currencyUSD",
            (
                Query(
                    "exec_risk_service_daily_pnl_usd / (exec_risk_service_daily_trades > 0)",
                    "{{instance}}",
                ),
            ),
            Kind.NUMBER,
            6,
        ),
        Panel(
            "Position count",
            "Open positions of the account.",
            "short",
            (Query("max(exec_risk_service_open_positions)", "open"),),
            Kind.NUMBER,
            6,
        ),
        Panel(
            "Portfolio value",
            "Wallet plus unrealised profit at the last closes, by the ledger.",
            "currencyUSD",
            (Query("max(analytics_os_service_portfolio_value_usd)", "portfolio"),),
        ),
        Panel(
            "Daily PnL over time",
            "Falls back to zero at 00:00 UTC of market time.",
            "currencyUSD",
            (Query("exec_risk_service_daily_pnl_usd", "{{instance}}"),),
        ),
        Panel(
            "Orders and positions",
            "Orders that filled, positions opened and closed, a second.",
            "cps",
            (
                Query(f"sum(rate(exec_risk_service_orders_executed_total{RATE}))", "orders"),
                Query(f"sum(rate(exec_risk_service_positions_opened_total{RATE}))", "opened"),
                Query(f"sum(rate(exec_risk_service_positions_closed_total{RATE}))", "closed"),
            ),
        ),
        Panel(
            "Exits by reason",
            "Positions closed a second, by what ended them.",
            "cps",
            (
                Query(
                    f"sum by (reason) (rate(exec_risk_service_positions_closed_total{RATE}))",
                    "{{reason}}",
                ),
            ),
        ),
        Panel(
            "Execution errors",
            "Orders a second whose outcome was an error.",
            "cps",
            (Query(f"sum(rate(exec_risk_service_execution_errors_total{RATE}))", "errors"),),
        ),
        Panel(
            "Latency of orders",
            "From the admission of an order or a cancel to its outcome.",
            "s",
            quantiles("exec_risk_service_order_request_seconds", "order"),
        ),
    ),
)
