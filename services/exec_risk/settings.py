"""Settings of exec_risk, under the names of the operations guide."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator

from services.exec_risk.core.executions.execution_policy import ExecutionPolicy
from services.exec_risk.core.policy import Policy
from services.exec_risk.core.protection.protection_policy import Partial, ProtectionPolicy
from services.exec_risk.exchange.settings import ExchangeSettings
from services.exec_risk.faults import fault_points
from services.exec_risk.key_settings import KeySettings
from services.exec_risk.risk_settings import RiskSettings
from services.exec_risk.term.sender import SenderLimits
from services.exec_risk.term.term import TermLimits
from services.kit.postgres.login import Login
from services.kit.settings import OptionalPath
from services.trade.execution import ExecutionStrategy
from services.trade.times import timeframe_ms

PAPER_KEY, PAPER_SECRET = "paper-key", "paper-secret"
"""What the paper venue takes where nothing is set: they guard nothing."""


class Settings(RiskSettings, KeySettings):
    """What one exec_risk replica needs to know."""

    exec_risk_postgres_url: SecretStr = SecretStr(
        "postgresql://exec_risk@127.0.0.1:5432/quantum_trader"
    )
    exec_risk_postgres_password_file: OptionalPath = None
    """Password of that role; read again for each connection."""
    postgres_ca_file: OptionalPath = None
    """Authority of the server's certificate (PEM); set: TLS is required."""
    account: str = Field(default="main", pattern=r"^[a-z0-9_-]{1,32}$")
    timeframe: str = "1m"
    exchange_venue: Literal["paper", "demo", "live"] = "paper"
    live_trading_confirmed: bool = False
    """Second switch that live trading needs."""
    binance_testnet: bool | None = None
    """True means demo. Unset means what EXCHANGE_VENUE says; a contradiction stops the start."""
    paper_venue_url: str = "http://127.0.0.1:8090"
    symbols: str = ""
    """Market ids to trade, separated by commas; empty: all that the venue trades."""
    trading_enabled: bool = True
    fund_policy_required: bool = True
    """True: no entries before the fund's policy was read; False, where analytics does not run:
    the account's own limits alone hold until one is."""
    policy_patience_seconds: float = Field(default=60.0, gt=0)
    """Seconds without a sign of the key-value store after which the policy counts as unreadable."""
    max_leverage: int = Field(default=20, ge=1, le=125)
    default_leverage: int = Field(default=5, ge=1, le=125)
    max_position_size_usd: Decimal = Field(default=Decimal(10_000), gt=0)
    max_portfolio_exposure_usd: Decimal = Field(default=Decimal(50_000), gt=0)
    max_positions: int = Field(default=10, ge=1, le=200)
    max_daily_drawdown_percent: Decimal = Field(default=Decimal(10), gt=0, le=100)
    risk_per_trade: Decimal = Field(default=Decimal("0.01"), gt=0, le=Decimal("0.1"))
    """Fraction of equity that a stop may cost at full confidence."""
    exec_min_confidence: float | None = Field(default=None, ge=0, le=1)
    entry_cooldown_seconds: int = Field(default=180, ge=0)
    max_price_age_seconds: int = Field(default=300, gt=0)
    max_holding_minutes: int = Field(default=60, gt=0)
    dynamic_tpsl_enabled: bool = True
    """True: stop by volatility, target by confidence; False: fixed distances."""
    stop_loss_atr: Decimal = Field(default=Decimal(2), gt=0, le=20)
    stop_loss_percent: Decimal = Field(default=Decimal(1), gt=0, le=10)
    """Distance of the stop where DYNAMIC_TPSL_ENABLED is false."""
    min_reward_risk: Decimal = Field(default=Decimal("1.5"), gt=0, le=100)
    max_reward_risk: Decimal = Field(default=Decimal(4), gt=0, le=100)
    partial_take_profits: str = "50@1.5"
    """Targets before the last: percent of the position @ distance in R, separated by commas."""
    break_even_r: Decimal = Field(default=Decimal(1), ge=0)
    """Profit in R from which the stop covers entry and costs; 0: never."""
    trailing_stop_enabled: bool = True
    trailing_activation_r: Decimal = Field(default=Decimal("1.5"), ge=0)
    trailing_distance_atr: Decimal = Field(default=Decimal(2), gt=0, le=20)
    trailing_on_prices: bool | None = None
    """True: prices between closes move stops too. Unset: on demo and live, not on paper, where
    the same market must trade the same way."""
    taker_fee_percent: Decimal = Field(default=Decimal("0.05"), ge=0)
    adopt_positions: bool = True
    """True: an unknown position of the exchange is protected; False: it is closed."""
    cancel_foreign_orders: bool = False
    """True: a resting order that is not ours is cancelled; False: it is told."""
    reconcile_seconds: float = Field(default=30.0, ge=1)
    """Pause between two comparisons of all that is stored with the exchange."""
    exec_max_concurrent_orders: int = Field(default=10, ge=1, le=100)
    exec_timeout_seconds: float = Field(default=5.0, gt=0)
    exec_retry_attempts: int = Field(default=3, ge=0, le=10)
    exchange_exit_share_percent: int = Field(default=25, ge=0, le=90)
    """Share of each rate limit of the exchange that only exits, stops and cancels may use."""
    default_execution_mode: ExecutionStrategy = ExecutionStrategy.MARKET
    """Strategy of entries that a signal leads to."""
    max_slippage_percent: Decimal = Field(default=Decimal("0.5"), gt=0, le=10)
    execution_timeout_seconds: int = Field(default=300, ge=1, le=86_400)
    """Market time until an execution ends that was given no duration."""
    execution_reprice_seconds: int = Field(default=15, ge=1, le=3_600)
    round_wait_seconds: float = Field(default=2.0, gt=0)
    round_wait_lockstep_seconds: float = Field(default=30.0, gt=0)
    emergency_latch_file: Path = Path("/tmp/emergency_latch")  # noqa: S108 - beside drain_mode
    """Where an emergency stop is kept while PostgreSQL does not take it; the account is added."""
    exec_risk_kill_at: str = ""
    """For drills on the paper venue alone: `step:count` ends the process, `:STOP` freezes it."""
    lease_seconds: float = Field(default=2.0, gt=0.2)

    @model_validator(mode="after")
    def _fault_points_on_paper(self) -> Self:
        if self.exec_risk_kill_at:
            if self.exchange_venue != "paper":
                raise ValueError("EXEC_RISK_KILL_AT is for EXCHANGE_VENUE=paper alone")
            fault_points.parse(self.exec_risk_kill_at)
        return self

    @model_validator(mode="after")
    def _one_venue(self) -> Self:
        if self.binance_testnet and self.exchange_venue != "demo":
            raise ValueError(
                f"BINANCE_TESTNET=true means demo, EXCHANGE_VENUE says {self.exchange_venue};"
                " set EXCHANGE_VENUE=demo or unset BINANCE_TESTNET"
            )
        if self.binance_testnet is False and self.exchange_venue == "demo":
            raise ValueError(
                "BINANCE_TESTNET=false contradicts EXCHANGE_VENUE=demo; unset one of them"
            )
        if self.exchange_venue == "live" and not self.live_trading_confirmed:
            raise ValueError("EXCHANGE_VENUE=live also needs LIVE_TRADING_CONFIRMED=true")
        keys = {
            "BINANCE_API_KEY": self.binance_api_key.get_secret_value(),
            "BINANCE_API_SECRET": self.binance_api_secret.get_secret_value(),
        }
        if self.exchange_venue != "paper" and not all(keys.values()):
            raise ValueError(
                f"EXCHANGE_VENUE={self.exchange_venue} needs BINANCE_API_KEY and BINANCE_API_SECRET"
            )
        for name, value in keys.items():
            if not (value.isascii() and all(c.isprintable() and c != " " for c in value)):
                raise ValueError(f"{name} holds blanks, line ends or odd characters")
        timeframe_ms(self.timeframe)
        self.exchange()
        self.protection()
        return self

    @property
    def database(self) -> Login:
        """Where the database is and how to log in."""
        return Login(
            self.exec_risk_postgres_url.get_secret_value(),
            self.exec_risk_postgres_password_file,
            self.postgres_ca_file,
        )

    def policy(self) -> Policy:
        """Return the limits as the core takes them."""
        return Policy(
            account=self.account,
            venue=self.exchange_venue,
            timeframe=self.timeframe,
            trading_enabled=self.trading_enabled,
            fund_required=self.fund_policy_required,
            max_leverage=self.max_leverage,
            leverage=self.default_leverage,
            max_position_usd=self.max_position_size_usd,
            max_exposure_usd=self.max_portfolio_exposure_usd,
            max_positions=self.max_positions,
            max_daily_drawdown=self.max_daily_drawdown_percent / 100,
            min_confidence=self.exec_min_confidence,
            cooldown_ms=self.entry_cooldown_seconds * 1000,
            max_price_age_ms=self.max_price_age_seconds * 1000,
            risk_per_trade=self.risk_per_trade,
            taker_fee=self.taker_fee_percent / 100,
            protection=self.protection(),
            retry_attempts=self.exec_retry_attempts,
            execution=self.execution(),
            adopt_positions=self.adopt_positions,
            risk=self.risk(),
            cancel_foreign_orders=self.cancel_foreign_orders,
        )

    def execution(self) -> ExecutionPolicy:
        """Return how quantities are brought to the exchange."""
        return ExecutionPolicy(
            entry_strategy=self.default_execution_mode,
            max_slippage=self.max_slippage_percent / 100,
            timeout_ms=self.execution_timeout_seconds * 1000,
            reprice_ms=self.execution_reprice_seconds * 1000,
        )

    def protection(self) -> ProtectionPolicy:
        """Return how positions are protected; ValueError names a contradiction."""
        on_prices = self.trailing_on_prices
        return ProtectionPolicy(
            dynamic=self.dynamic_tpsl_enabled,
            stop_atr=self.stop_loss_atr,
            fixed_stop_fraction=self.stop_loss_percent / 100,
            min_reward=self.min_reward_risk,
            max_reward=self.max_reward_risk,
            partials=partials(self.partial_take_profits),
            break_even_reward=self.break_even_r,
            trailing=self.trailing_stop_enabled,
            trail_reward=self.trailing_activation_r,
            trail_atr=self.trailing_distance_atr,
            follow_prices=self.exchange_venue != "paper" if on_prices is None else on_prices,
            max_holding_ms=self.max_holding_minutes * 60_000,
        )

    def exchange(self) -> ExchangeSettings:
        """Return how the exchange is reached; ValueError names a contradiction."""
        paper = self.exchange_venue == "paper"
        key = self.binance_api_key.get_secret_value()
        secret = self.binance_api_secret.get_secret_value()
        return ExchangeSettings(
            venue=self.exchange_venue,
            timeframe=self.timeframe,
            symbols=tuple(s.strip() for s in self.symbols.split(",") if s.strip()),
            url=self.paper_venue_url if paper else "",
            api_key=key or (PAPER_KEY if paper else ""),
            api_secret=secret or (PAPER_SECRET if paper else ""),
            account=self.account,
            timeout_seconds=self.exec_timeout_seconds,
            exit_share_percent=self.exchange_exit_share_percent,
        )

    def term(self) -> TermLimits:
        """Return how long a term waits for others."""
        return TermLimits(
            round_wait_lockstep=self.round_wait_lockstep_seconds,
            round_wait_free=self.round_wait_seconds,
            reconcile_every=self.reconcile_seconds,
            deposed_after=self.lease_seconds / 2,
            latch_file=self.emergency_latch_file,
            sender=SenderLimits(
                concurrent=self.exec_max_concurrent_orders,
                # the exchange client has the same limit inside; ours is the outer one
                timeout_seconds=self.exec_timeout_seconds + 1.0,
            ),
        )


def partials(text: str) -> tuple[Partial, ...]:
    """Read `percent@R, percent@R`; empty means none. ValueError says what is wrong."""
    found = []
    for part in (p.strip() for p in text.split(",") if p.strip()):
        percent, separator, reward = part.partition("@")
        try:
            found.append(Partial(Decimal(percent) / 100, Decimal(reward)))
        except InvalidOperation:
            separator = ""
        if not separator:
            raise ValueError(f"PARTIAL_TAKE_PROFITS: {part!r} is not percent@R, such as 50@1.5")
    return tuple(found)
