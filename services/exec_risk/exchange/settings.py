"""How one exchange connection is set up, checked before anything is opened."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from services.trade.times import timeframe_ms

VENUES = ("paper", "demo", "live")


@dataclass(frozen=True, slots=True)
class ExchangeSettings:
    """One account on one venue. ValueError names the field that contradicts another."""

    venue: str
    """`paper` (own venue at `url`), `demo` (Binance demo trading) or `live`."""
    timeframe: str
    """Candles that are followed, for example `1m`."""
    symbols: tuple[str, ...] = ()
    """Market ids that are followed and traded, for example `BTCUSDT`; empty: all that trade."""
    url: str = ""
    """Base of the paper venue, for example `http://127.0.0.1:9000`; empty for demo and live."""
    api_key: str = field(default="", repr=False)
    api_secret: str = field(default="", repr=False)
    account: str = "main"
    """Name of the trading account, written into fills."""
    quote_asset: str = "USDT"
    recv_window_ms: int = 1500
    """How long after its signature an order may arrive; the exchange refuses it later."""
    timeout_seconds: float = 5.0
    """Longest wait for one answer; after it an order's outcome is unknown."""
    probe_seconds: float = 3.0
    """How often reachability and clock difference are checked."""
    step_wait_seconds: float = 2.0
    """How long the events of a paper step may lag behind its point."""
    silence_seconds: float = 30.0
    """Demo and live: a market socket without an event for so long is opened again."""
    echo_seconds: float = 10.0
    """Demo and live: an accepted order that the user stream does not tell for so long means
    that the stream is dead, and it is opened again."""
    prices: bool = True
    """Also follow mark prices, funding rates and best bid and ask."""
    exit_share_percent: int = 25
    """Share of each rate limit that only exits, protective orders and cancels may use."""
    listen_key_seconds: float = 1_200.0
    """How often the user stream's key is renewed; it would expire after an hour."""
    listing_seconds: float = 3_600.0
    """How often symbols, filters and the position mode are read again."""

    def __post_init__(self) -> None:
        if self.venue not in VENUES:
            raise ValueError(f"venue {self.venue!r} is none of {', '.join(VENUES)}")
        if self.paper:
            parts = urlsplit(self.url)
            if parts.scheme not in ("http", "https") or not parts.netloc:
                raise ValueError(f"url {self.url!r}: the paper venue needs http://HOST:PORT")
            if "binance" in parts.netloc:
                raise ValueError(f"url {self.url!r}: the paper venue is never Binance itself")
        elif self.url:
            raise ValueError(f"url {self.url!r} is only for the paper venue, not for {self.venue}")
        if not (self.api_key and self.api_secret):
            raise ValueError(f"api_key and api_secret are needed on {self.venue}")
        if not 0 < self.recv_window_ms <= 60_000:
            raise ValueError(f"recv_window_ms {self.recv_window_ms} is not within 1..60000")
        if not 0 <= self.exit_share_percent < 100:
            raise ValueError(f"exit_share_percent {self.exit_share_percent} is not within 0..99")
        timeframe_ms(self.timeframe)

    @property
    def paper(self) -> bool:
        """True for the own paper venue, whose steps are counted and answered."""
        return self.venue == "paper"

    @property
    def socket_url(self) -> str:
        """Base of the paper venue's sockets."""
        return "ws" + self.url.rstrip("/").removeprefix("http")
