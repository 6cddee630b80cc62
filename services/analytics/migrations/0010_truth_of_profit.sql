-- What a trade put at risk: the first stop that was told of it.
alter table position_facts add column initial_stop numeric;
alter table position_facts add column stop_version integer not null default 0;
alter table trades add column initial_stop numeric;
create index trades_by_close on trades (closed_time) where status = 'closed';
create index trade_fills_by_moment on trade_fills (time);
create index trade_funding_by_moment on trade_funding (time);

-- Signals with the price that they were made at.
create table signal_prices (
    signal_id text primary key,
    symbol text not null,
    action text not null,
    price numeric not null,
    time timestamptz not null,
    confidence double precision not null,
    model_version text not null,
    in_sample boolean not null
);

-- The account's equity: the last round of each UTC hour, and the hour's extremes.
create table equity_hours (
    account text not null,
    hour timestamptz not null,
    time timestamptz not null,
    sequence bigint not null,
    equity numeric not null,
    low numeric not null,
    high numeric not null,
    in_sample boolean not null,
    primary key (account, hour)
);

-- Closed candles, to tell how far the price went for and against a trade.
create table candles (
    venue text not null,
    symbol text not null,
    timeframe text not null,
    open_time timestamptz not null,
    open numeric not null,
    high numeric not null,
    low numeric not null,
    close numeric not null,
    primary key (venue, symbol, timeframe, open_time)
);
create table candle_series (
    venue text not null,
    symbol text not null,
    timeframe text not null,
    length_ms bigint not null,
    primary key (venue, symbol, timeframe)
);

-- Hourly: what the wallet did between two rounds against what fills and funding say.
create table ledger_checks (
    account text not null,
    until timestamptz not null,
    until_sequence bigint not null,
    wallet_balance numeric not null,
    since timestamptz not null,
    since_sequence bigint not null,
    wallet_change numeric not null,
    booked numeric not null,
    difference numeric not null,
    realized_difference numeric not null,
    primary key (account, until)
);

-- Files that hold events which were taken out of the ledger.
create table archives (
    file text primary key,
    since timestamptz not null,
    until timestamptz not null,
    events bigint not null,
    sha256 text not null,
    archived_at timestamptz not null default clock_timestamp(),
    restored_at timestamptz
);
