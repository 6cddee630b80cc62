"""How the account is set up at the exchange: position mode, leverage, margin type."""

from __future__ import annotations

from typing import Any

from services.exec_risk.core.exchange_events import Refused
from services.exec_risk.exchange import endpoints
from services.exec_risk.exchange.limits import Use
from services.exec_risk.exchange.requests import (
    ExchangeRefused,
    ExchangeUnavailable,
    Params,
    Requests,
)
from services.exec_risk.exchange.settings import ExchangeSettings
from services.kit.observe.logs import get_logger
from services.trade.order import Order, OrderPurpose

log = get_logger(__name__)

CROSSED = "CROSSED"
HEDGE_MODE = "hedge_mode"


class ExchangeMisconfigured(Exception):
    """The account is set up in a way in which its orders or its money would be misread."""


class AccountSetup:
    """Reads how the account is set up, and sets what an entry needs."""

    def __init__(self, requests: Requests, settings: ExchangeSettings) -> None:
        self._requests = requests
        self._settings = settings
        self.hedge = False
        """True while the account holds LONG and SHORT of a symbol apart (incident 32)."""

    async def check(self) -> None:
        """Read the position mode; raise ExchangeMisconfigured when fees are paid in BNB."""
        await self.read_mode()
        if self._settings.paper:
            return
        burn = await self._requests.read(endpoints.FEE_BURN)
        if burn.get("feeBurn") is True:
            raise ExchangeMisconfigured(
                f"fees are paid in BNB; switch that off, so that they are in"
                f" {self._settings.quote_asset}"
            )

    async def read_mode(self) -> None:
        """Read the position mode from the exchange; it decides how exits are sent."""
        mode = await self._requests.read(endpoints.POSITION_MODE, use=Use.EXIT)
        hedge = mode.get("dualSidePosition")
        if not isinstance(hedge, bool):
            raise ExchangeMisconfigured(f"the position mode {hedge!r} is neither true nor false")
        if hedge:
            log.error("account_in_hedge_mode", effect="no entries; exits with positionSide")
        self.hedge = hedge

    async def read_mode_again(self) -> None:
        """Read the position mode anew; where it cannot be read, it stays as it was known."""
        try:
            await self.read_mode()
        except (ExchangeRefused, ExchangeUnavailable, ExchangeMisconfigured) as error:
            log.warning("position_mode_unread", error=str(error))

    def refusal(self, order: Order) -> Refused | None:
        """Return why an order is not sent to this account. Exits always are."""
        if self.hedge and order.purpose is OrderPurpose.ENTRY:
            message = "the account is in hedge mode; switch it to one-way mode to trade"
            return Refused(HEDGE_MODE, message)
        return None

    async def set_leverage(self, symbol: str, leverage: int, signed_at: int | None) -> int:
        """Set a symbol's leverage and return what a read-back says (incident 33).

        Raises ExchangeRefused when its margin is not shared (CROSSED) and cannot be made so:
        sizes and liquidation distances count on it.
        """
        params: Params = {"symbol": symbol, "leverage": leverage}
        answer = await self._requests.write(
            endpoints.SET_LEVERAGE, params, use=Use.ENTRY, signed_at=signed_at
        )
        if not isinstance(answer, dict):
            log.warning("leverage_not_set", symbol=symbol, outcome=repr(answer))
        row = await self._config(symbol)
        if row.get("marginType") != CROSSED:
            row = await self._make_crossed(symbol, signed_at)
        return int(row["leverage"])

    async def _make_crossed(self, symbol: str, signed_at: int | None) -> dict[str, Any]:
        params: Params = {"symbol": symbol, "marginType": CROSSED}
        answer = await self._requests.write(
            endpoints.SET_MARGIN_TYPE, params, use=Use.ENTRY, signed_at=signed_at
        )
        row = await self._config(symbol)
        found = row.get("marginType")
        if found != CROSSED:
            raise ExchangeRefused("margin_type", f"{symbol} is {found}, not CROSSED: {answer!r}")
        return row

    async def _config(self, symbol: str) -> dict[str, Any]:
        rows = await self._requests.read(endpoints.SYMBOL_CONFIG, {"symbol": symbol}, use=Use.ENTRY)
        found = [row for row in rows if row.get("symbol") == symbol]
        if not found:
            raise ExchangeRefused("symbol_config", f"{symbol} is not told")
        return dict(found[0])
