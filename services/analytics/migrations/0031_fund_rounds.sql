-- What the fund's layers carry from round to round, as they left it.
create table fund_state (
    account text primary key,
    round_time timestamptz not null,
    state jsonb not null
);

-- Asked by people, done by the next round.
create table rebalance_requests (
    request_id text primary key,
    account text not null,
    reason text not null,
    asked_at timestamptz not null default clock_timestamp(),
    done_at_round timestamptz
);
create index rebalance_requests_open on rebalance_requests (account) where done_at_round is null;

-- Directives that were issued; what became of one is in the fact directive.applied.
create table directives (
    directive_id text primary key,
    account text not null,
    layer text not null,
    action text not null,
    symbol text not null,
    position_id text not null,
    share numeric not null,
    reasons text[] not null,
    decided_at timestamptz not null,
    effective_from timestamptz not null,
    deadline timestamptz not null
);
create index directives_newest on directives (account, decided_at desc);
