"""The account: balances, positions, leverage, fees, income, listen keys."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from services.venue.core import checks
from services.venue.core.account import ZERO, Holding
from services.venue.core.rejections import Rejection
from services.venue.exchange import PaperExchange
from services.venue.server.calls import Call, Json, Route, Routes, Security, span_of
from services.venue.server.formats import ASSET, average, number
from services.venue.server.sockets import ListenKey


class AccountRoutes:
    """The endpoints of the account."""

    def __init__(self, exchange: PaperExchange, listen_key: ListenKey) -> None:
        self._exchange = exchange
        self._listen_key = listen_key

    def table(self) -> Routes:
        """Return the routes."""
        signed, key = Security.SIGNED, Security.KEY
        v1, v2, v3 = "/fapi/v1", "/fapi/v2", "/fapi/v3"
        return {
            ("GET", f"{v3}/account"): Route(self.account, signed, 5),
            ("GET", f"{v2}/account"): Route(self.account, signed, 5),
            ("GET", f"{v3}/balance"): Route(self.balance, signed, 5),
            ("GET", f"{v2}/balance"): Route(self.balance, signed, 5),
            ("GET", f"{v3}/positionRisk"): Route(self.positions, signed, 5),
            ("GET", f"{v2}/positionRisk"): Route(self.positions, signed, 5),
            ("POST", f"{v1}/leverage"): Route(self.set_leverage, signed),
            ("POST", f"{v1}/marginType"): Route(self.set_margin_type, signed),
            ("GET", f"{v1}/positionSide/dual"): Route(self.position_mode, signed, 30),
            ("POST", f"{v1}/positionSide/dual"): Route(self.set_position_mode, signed),
            ("GET", f"{v1}/symbolConfig"): Route(self.symbol_config, signed, 5),
            ("GET", f"{v1}/leverageBracket"): Route(self.brackets, signed),
            ("GET", f"{v1}/commissionRate"): Route(self.commission, signed, 20),
            ("GET", f"{v1}/income"): Route(self.income, signed, 30),
            ("POST", f"{v1}/listenKey"): Route(self.new_key, key),
            ("PUT", f"{v1}/listenKey"): Route(self.keep_key, key),
            ("DELETE", f"{v1}/listenKey"): Route(self.end_key, key),
        }

    def account(self, call: Call) -> Json:
        """GET account: totals, the asset, open positions."""
        del call
        asset = self._asset()
        return {
            "feeTier": 0,
            "canTrade": True,
            "canDeposit": True,
            "canWithdraw": True,
            "multiAssetsMargin": False,
            "updateTime": self._exchange.time,
            "totalInitialMargin": asset["initialMargin"],
            "totalMaintMargin": asset["maintMargin"],
            "totalWalletBalance": asset["walletBalance"],
            "totalUnrealizedProfit": asset["unrealizedProfit"],
            "totalMarginBalance": asset["marginBalance"],
            "totalPositionInitialMargin": asset["positionInitialMargin"],
            "totalOpenOrderInitialMargin": asset["openOrderInitialMargin"],
            "totalCrossWalletBalance": asset["crossWalletBalance"],
            "totalCrossUnPnl": asset["crossUnPnl"],
            "availableBalance": asset["availableBalance"],
            "maxWithdrawAmount": asset["maxWithdrawAmount"],
            "assets": [asset],
            "positions": self.positions(Call({})),
        }

    def balance(self, call: Call) -> Json:
        """GET balance."""
        del call
        asset = self._asset()
        return [
            {
                "accountAlias": "paper",
                "asset": ASSET,
                "balance": asset["walletBalance"],
                "crossWalletBalance": asset["crossWalletBalance"],
                "crossUnPnl": asset["crossUnPnl"],
                "availableBalance": asset["availableBalance"],
                "maxWithdrawAmount": asset["maxWithdrawAmount"],
                "marginAvailable": True,
                "updateTime": self._exchange.time,
            }
        ]

    def positions(self, call: Call) -> Json:
        """GET positionRisk: positions that are not flat."""
        symbol = call.parameters.get("symbol")
        held = self._exchange.engine.state.account.open_holdings()
        return [self._position(one) for one in held if symbol in (None, one.symbol)]

    def set_leverage(self, call: Call) -> Json:
        """POST leverage."""
        symbol, leverage = call.text("symbol"), call.integer("leverage")
        largest = self._exchange.set_leverage(symbol, leverage)
        return {"leverage": leverage, "maxNotionalValue": number(largest), "symbol": symbol}

    def set_margin_type(self, call: Call) -> Json:
        """POST marginType: it is cross already, and stays."""
        self._exchange.engine.set_margin_type(call.text("symbol"), call.text("marginType"))
        return {"code": 200, "msg": "success"}

    def position_mode(self, call: Call) -> Json:
        """GET positionSide/dual: true in hedge mode."""
        del call
        return {"dualSidePosition": self._exchange.engine.state.account.hedged}

    def set_position_mode(self, call: Call) -> Json:
        """POST positionSide/dual: only while nothing is open."""
        call.text("dualSidePosition")
        self._exchange.set_hedged(call.flag("dualSidePosition"))
        return {"code": 200, "msg": "success"}

    def symbol_config(self, call: Call) -> Json:
        """GET symbolConfig of one or all symbols."""
        account = self._exchange.engine.state.account
        return [
            {
                "symbol": symbol,
                "marginType": "CROSSED",
                "isAutoAddMargin": False,
                "leverage": account.leverage(symbol),
                "maxNotionalValue": number(rules.max_notional(account.leverage(symbol))),
            }
            for symbol, rules in self._chosen(call)
        ]

    def brackets(self, call: Call) -> Json:
        """GET leverageBracket of one or all symbols."""
        return [
            {
                "symbol": symbol,
                "brackets": [
                    {
                        "bracket": one.number,
                        "initialLeverage": one.initial_leverage,
                        "notionalCap": int(one.cap),
                        "notionalFloor": int(one.floor),
                        "maintMarginRatio": float(one.maintenance_ratio),
                        "cum": float(one.cumulative),
                    }
                    for one in rules.brackets
                ],
            }
            for symbol, rules in self._chosen(call)
        ]

    def commission(self, call: Call) -> Json:
        """GET commissionRate."""
        symbol = call.text("symbol")
        self._exchange.engine.rules_of(symbol)
        rules = self._exchange.engine.state.rules
        return {
            "symbol": symbol,
            "makerCommissionRate": number(rules.maker_fee),
            "takerCommissionRate": number(rules.taker_fee),
        }

    def income(self, call: Call) -> Json:
        """GET income."""
        entries = self._exchange.journal.income(
            span_of(call, 100),
            symbol=call.parameters.get("symbol", ""),
            kind=call.parameters.get("incomeType", ""),
        )
        return [
            {
                "symbol": entry.symbol,
                "incomeType": entry.type,
                "income": number(entry.amount),
                "asset": ASSET,
                "info": entry.type,
                "time": entry.time,
                "tranId": entry.income_id,
                "tradeId": str(entry.trade_id) if entry.trade_id else "",
            }
            for entry in entries
        ]

    def new_key(self, call: Call) -> Json:
        """POST listenKey: the same key while it is valid."""
        del call
        return {"listenKey": self._listen_key.create()}

    def keep_key(self, call: Call) -> Json:
        """PUT listenKey: valid for another hour."""
        del call
        if not self._listen_key.extend():
            raise Rejection(-1125, "This listenKey does not exist.")
        return {"listenKey": self._listen_key.value}

    def end_key(self, call: Call) -> Json:
        """DELETE listenKey."""
        del call
        self._listen_key.end()
        return {}

    def _chosen(self, call: Call) -> list[tuple[str, Any]]:
        symbol = call.parameters.get("symbol")
        if symbol is not None:
            return [(symbol, self._exchange.engine.rules_of(symbol))]
        return sorted(self._exchange.engine.state.symbols.items())

    def _asset(self) -> dict[str, Any]:
        state = self._exchange.engine.state
        account = state.account
        orders = list(state.book.orders.values())
        held = checks.initial_margin(account, state.marks, [])
        initial = checks.initial_margin(account, state.marks, orders)
        profit = account.unrealized(state.marks)
        free = max(ZERO, account.wallet + profit - initial)
        wallet = number(account.wallet)
        return {
            "asset": ASSET,
            "walletBalance": wallet,
            "unrealizedProfit": number(profit),
            "marginBalance": number(account.wallet + profit),
            "maintMargin": number(account.maintenance(state.symbols, state.marks)),
            "initialMargin": _amount(initial),
            "positionInitialMargin": _amount(held),
            "openOrderInitialMargin": _amount(initial - held),
            "crossWalletBalance": wallet,
            "crossUnPnl": number(profit),
            "availableBalance": _amount(free),
            "maxWithdrawAmount": _amount(max(ZERO, min(account.wallet, free))),
            "marginAvailable": True,
            "updateTime": max(1, self._exchange.time),
        }

    def _position(self, held: Holding) -> dict[str, Any]:
        state = self._exchange.engine.state
        mark = state.marks[held.symbol]
        notional = held.quantity * mark
        margin = state.account.position_margin(held, mark)
        entry = average(held.entry_price)
        return {
            "symbol": held.symbol,
            "positionSide": held.position_side.value,
            "positionAmt": number(held.quantity),
            "entryPrice": entry,
            "breakEvenPrice": entry,
            "markPrice": number(mark),
            "unRealizedProfit": number(held.unrealized(mark)),
            "unrealizedProfit": number(held.unrealized(mark)),
            "liquidationPrice": _amount(
                state.account.liquidation_price(held.symbol, state.symbols, state.marks)
            ),
            "leverage": str(state.account.leverage(held.symbol)),
            "isolatedMargin": "0",
            "notional": number(notional),
            "marginAsset": ASSET,
            "isolatedWallet": "0",
            "initialMargin": _amount(margin),
            "maintMargin": number(state.symbols[held.symbol].maintenance(abs(notional))),
            "positionInitialMargin": _amount(margin),
            "openOrderInitialMargin": "0",
            "adl": 1,
            "bidNotional": "0",
            "askNotional": "0",
            "updateTime": held.update_time,
        }


def _amount(value: Decimal) -> str:
    return number(value.quantize(Decimal("0.00000001"))) if value else "0"
