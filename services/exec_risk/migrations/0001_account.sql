create table orders (
    client_order_id text primary key,
    account text not null,
    symbol text not null,
    side text not null,
    type text not null,
    purpose text not null,
    state text not null,
    quantity numeric not null,
    price numeric,
    trigger_price numeric,
    filled_quantity numeric not null,
    filled_cost numeric not null,
    exchange_order_id text not null,
    signal_id text not null,
    position_id text not null,
    reason text not null,
    decided_at timestamptz not null,
    updated_at timestamptz not null,
    version integer not null,
    check (state <> 'FILLED' or filled_quantity > 0)
);
create index orders_live on orders (account)
    where state not in ('FILLED', 'CANCELED', 'REJECTED', 'EXPIRED');
create index orders_position on orders (position_id);
create index orders_newest on orders (account, decided_at desc, client_order_id desc);

create table fills (
    account text not null,
    symbol text not null,
    trade_id text not null,
    client_order_id text not null,
    position_id text not null,
    purpose text not null,
    side text not null,
    price numeric not null,
    quantity numeric not null check (quantity > 0),
    commission numeric not null,
    realized_pnl numeric not null,
    maker boolean not null,
    exchange_order_id text not null,
    filled_at timestamptz not null,
    primary key (account, symbol, trade_id)
);
create index fills_time on fills (account, filled_at);
create index fills_position on fills (position_id);

create table positions (
    position_id text primary key,
    account text not null,
    symbol text not null,
    side text not null,
    status text not null check (status in ('open', 'closed')),
    quantity numeric not null,
    entry_price numeric,
    exit_price numeric,
    entry_quantity numeric not null,
    entry_cost numeric not null,
    exit_quantity numeric not null,
    exit_cost numeric not null,
    commission numeric not null,
    funding numeric not null,
    pnl_usd numeric not null,
    stop_loss_price numeric,
    take_profit_price numeric,
    leverage integer not null,
    signal_id text not null,
    trace_id text not null,
    entry_confidence double precision not null,
    entry_model text not null,
    in_sample boolean not null,
    exit_reason text,
    opened_at timestamptz not null,
    closed_at timestamptz,
    version integer not null
);
comment on column positions.pnl_usd is 'realised profit after commission and funding';
create unique index positions_one_open on positions (account, symbol) where status = 'open';
create index positions_newest on positions (account, opened_at desc, position_id desc);

create table plans (
    position_id text primary key,
    account text not null,
    symbol text not null,
    side text not null,
    leverage integer not null,
    stop_fraction numeric not null,
    take_fraction numeric not null,
    price numeric not null,
    decided_at timestamptz not null,
    expires_at timestamptz,
    signal_id text not null,
    confidence double precision not null,
    model_version text not null,
    in_sample boolean not null,
    trace_id text not null
);

create table funding (
    account text not null,
    transaction_id text not null,
    symbol text not null,
    position_id text not null,
    amount numeric not null,
    settled_at timestamptz not null,
    primary key (account, transaction_id)
);

create table daily_counters (
    account text not null,
    day date not null,
    start_equity numeric,
    pnl_usd numeric not null,
    trades integer not null,
    primary key (account, day)
);

create table trading_state (
    account text primary key,
    state text not null,
    reason text not null,
    changed_by text not null,
    changed_at timestamptz not null
);

create table account (
    account text primary key,
    market_time timestamptz not null,
    wallet_balance numeric,
    unrealized_pnl numeric not null,
    available_balance numeric,
    gross_exposure numeric not null,
    last_round timestamptz,
    in_sample boolean not null
);

create table marks (
    account text not null,
    symbol text not null,
    price numeric not null,
    marked_at timestamptz not null,
    primary key (account, symbol)
);

create table leader_status (
    account text primary key,
    instance text not null,
    connected boolean not null,
    ready boolean not null,
    blocked_by text not null,
    counters jsonb not null,
    updated_at timestamptz not null
);
comment on table leader_status is 'what only the leader sees, so that every replica can tell it';

create table requests (
    account text not null,
    request_id text not null,
    kind text not null,
    arguments jsonb not null,
    created_at timestamptz not null default clock_timestamp(),
    answered_at timestamptz,
    ok boolean,
    result jsonb,
    primary key (account, request_id)
);
create index requests_open on requests (account, created_at) where answered_at is null;
