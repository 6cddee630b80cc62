-- What exec_risk said of each position at its highest version.
create table position_facts (
    position_id text primary key,
    version integer not null,
    account text not null,
    symbol text not null,
    side text not null check (side in ('LONG', 'SHORT')),
    closed boolean not null,
    opened_time timestamptz not null,
    leverage integer not null,
    signal_id text not null,
    trace_id text not null,
    model_version text not null,
    entry_confidence double precision not null,
    in_sample boolean not null,
    exit_reason text,
    reported_net numeric not null
);

-- Fills, each once by the exchange's trade id; `realized` is its share of the gross profit.
create table trade_fills (
    account text not null,
    symbol text not null,
    trade_id text not null,
    position_id text not null,
    client_order_id text not null,
    side text not null check (side in ('BUY', 'SELL')),
    purpose text not null,
    price numeric not null,
    quantity numeric not null,
    commission numeric not null,
    exchange_realized numeric not null,
    maker boolean not null,
    time timestamptz not null,
    day date not null,
    sequence bigint not null,
    realized numeric not null,
    primary key (account, symbol, trade_id)
);
create index trade_fills_by_position on trade_fills (position_id);
create index trade_fills_by_time on trade_fills (account, time, sequence);

create table trade_funding (
    account text not null,
    symbol text not null,
    settlement_id text not null,
    position_id text not null,
    amount numeric not null,
    time timestamptz not null,
    day date not null,
    sequence bigint not null,
    primary key (account, symbol, settlement_id)
);
create index trade_funding_by_position on trade_funding (position_id);
create index trade_funding_by_time on trade_funding (account, time, sequence);

-- Trades, computed from the three tables above by services/trade alone.
create table trades (
    position_id text primary key,
    account text not null,
    symbol text not null,
    side text not null,
    status text not null check (status in ('open', 'settling', 'closed')),
    quantity numeric not null,
    entry_quantity numeric not null,
    entry_cost numeric not null,
    exit_quantity numeric not null,
    exit_cost numeric not null,
    entry_price numeric,
    exit_price numeric,
    gross_pnl numeric not null,
    commission numeric not null,
    funding numeric not null,
    net_pnl numeric not null,
    leverage integer not null,
    opened_time timestamptz not null,
    closed_time timestamptz,
    closed_day date,
    exit_reason text,
    signal_id text not null,
    trace_id text not null,
    model_version text not null,
    entry_confidence double precision not null,
    in_sample boolean not null,
    version integer not null,
    reported_net numeric not null,
    agrees boolean not null
);
create index trades_closed on trades (closed_time desc, position_id desc) where status = 'closed';
create index trades_unfinished on trades (status) where status <> 'closed';
create index trades_disagreeing on trades (position_id) where not agrees;

-- The wallet at the last round (or, before the first, as the exchange reported it).
create table portfolio (
    account text primary key,
    time timestamptz not null,
    sequence bigint not null,
    wallet_balance numeric not null,
    from_round boolean not null,
    in_sample boolean not null
);
create table marks (
    account text not null,
    symbol text not null,
    price numeric not null,
    time timestamptz not null,
    sequence bigint not null,
    primary key (account, symbol)
);

-- Money counts on the UTC day it moved, a trade on the day it closed.
create view daily_performance as
select
    account,
    day,
    sum(gross) as gross_pnl,
    sum(commission) as commission,
    sum(funding) as funding,
    sum(gross) - sum(commission) + sum(funding) as net_pnl,
    sum(trades)::integer as trades,
    sum(wins)::integer as wins,
    bool_or(in_sample) as in_sample
from (
    select
        f.account, f.day, f.realized as gross, f.commission, 0::numeric as funding,
        0 as trades, 0 as wins, coalesce(t.in_sample, false) as in_sample
    from trade_fills f left join trades t on t.position_id = f.position_id
    union all
    select
        f.account, f.day, 0, 0, f.amount,
        0, 0, coalesce(t.in_sample, false)
    from trade_funding f left join trades t on t.position_id = f.position_id
    union all
    select
        account, closed_day, 0, 0, 0,
        1, case when net_pnl > 0 then 1 else 0 end, in_sample
    from trades where status = 'closed'
) as flows
group by account, day;
