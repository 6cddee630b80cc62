"""Orders of one account at the exchange: placed, cancelled, asked for."""

from __future__ import annotations

from collections.abc import Callable

from services.exec_risk.core.exchange_events import Accepted, OrderReport, Refused, RequestOutcome
from services.exec_risk.exchange import endpoints, parse
from services.exec_risk.exchange.account import AccountSetup
from services.exec_risk.exchange.endpoints import Endpoint
from services.exec_risk.exchange.errors import (
    NOT_SENT,
    UNKNOWN_ORDER_CODES,
    WRONG_POSITION_SIDE_CODE,
)
from services.exec_risk.exchange.limits import Use
from services.exec_risk.exchange.orders import (
    cancel_params,
    find_params,
    is_conditional,
    place_params,
    placed,
    reported,
)
from services.exec_risk.exchange.requests import ExchangeRefused, Requests
from services.trade.order import Order


class OrderDesk:
    """Sends orders. `on_report` hears of every order that the exchange told in an answer."""

    def __init__(
        self,
        requests: Requests,
        account: AccountSetup,
        *,
        on_report: Callable[[OrderReport], None],
    ) -> None:
        self._requests = requests
        self._account = account
        self._on_report = on_report

    async def place(self, order: Order, signed_at: int) -> RequestOutcome:
        """Send an order once, signed with the wall time (ms) of the write that allowed it."""
        refusal = self._account.refusal(order)
        if refusal is not None:
            return refusal
        endpoint = endpoints.PLACE_ALGO_ORDER if is_conditional(order) else endpoints.PLACE_ORDER
        try:
            params = place_params(order, hedge=self._account.hedge)
        except ValueError as error:
            return Refused(NOT_SENT, str(error))
        use = Use.EXIT if order.reduce_only else Use.ENTRY
        answer = await self._requests.write(endpoint, params, use=use, signed_at=signed_at)
        outcome = placed(order, answer)
        if isinstance(outcome, Accepted):
            self._on_report(outcome.report)
        elif isinstance(outcome, Refused) and outcome.code == WRONG_POSITION_SIDE_CODE:
            await self._account.read_mode_again()
        return outcome

    async def cancel(self, order: Order, signed_at: int | None) -> RequestOutcome:
        """Cancel an order by its client order id; a triggered one by its child, same id.

        Signed with `signed_at` as `place` is; with the time of now where it is not given.
        """
        if is_conditional(order):
            params = cancel_params(order, conditional=True)
            endpoint = endpoints.CANCEL_ALGO_ORDER
            answer = await self._requests.write(endpoint, params, use=Use.EXIT, signed_at=signed_at)
            if getattr(answer, "code", "") not in UNKNOWN_ORDER_CODES:
                return placed(order, answer, canceled=True)
        params = cancel_params(order, conditional=False)
        answer = await self._requests.write(
            endpoints.CANCEL_ORDER, params, use=Use.EXIT, signed_at=signed_at
        )
        return placed(order, answer, canceled=True)

    async def find(self, order: Order) -> OrderReport | None:
        """Ask for an order by its client order id; None when the exchange does not know it."""
        algo = None
        if is_conditional(order):
            algo = await self._ask(endpoints.GET_ALGO_ORDER, find_params(order, True))
            if algo is not None and not parse.triggered(algo):
                return parse.algo_report(algo)
        plain = await self._ask(endpoints.GET_ORDER, find_params(order, False))
        report = reported(algo, plain)
        if report is not None:
            self._on_report(report)
        return report

    async def _ask(self, endpoint: Endpoint, params: dict[str, str]) -> dict[str, object] | None:
        try:
            found = await self._requests.read(endpoint, params, use=Use.EXIT)
        except ExchangeRefused as error:
            if error.code in UNKNOWN_ORDER_CODES:
                return None
            raise
        return dict(found)
