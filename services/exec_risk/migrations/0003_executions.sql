alter table orders add column time_in_force text;
alter table orders add column execution_id text not null default '';

create table executions (
    execution_id text primary key,
    account text not null,
    symbol text not null,
    side text not null,
    strategy text not null,
    state text not null,
    phase text not null,
    quantity numeric not null check (quantity > 0),
    filled_quantity numeric not null,
    filled_cost numeric not null,
    reference_price numeric not null,
    expected_impact numeric,
    max_slippage numeric not null,
    reduce_only boolean not null,
    limit_price numeric,
    time_in_force text not null,
    schedule jsonb not null,
    slices_sent integer not null,
    display_quantity numeric,
    orders integer not null,
    child text not null,
    withdrawing boolean not null,
    refusals integer not null,
    signal_id text not null,
    position_id text not null,
    reason text not null,
    started_at timestamptz not null,
    deadline_at timestamptz not null,
    next_at timestamptz not null,
    updated_at timestamptz not null,
    version integer not null
);
comment on column executions.schedule is 'pairs of market time (ms) and quantity';
comment on column executions.child is 'client order id of the order whose end was not judged yet';
create index executions_working on executions (account) where state = 'WORKING';
create index executions_time on executions (account, updated_at);
create index executions_position on executions (position_id);

create table volumes (
    account text not null,
    symbol text not null,
    candle_ms integer not null,
    volume numeric not null,
    spread numeric not null,
    hours numeric[] not null,
    updated_at timestamptz not null,
    primary key (account, symbol)
);
comment on table volumes is 'mean volume and range of a candle, and its volume by UTC hour of day';
