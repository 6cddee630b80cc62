create table emergency_latch (
    account text primary key,
    latched boolean not null,
    reason text not null,
    latched_by text not null,
    latched_at timestamptz not null,
    request_id text not null
);
comment on table emergency_latch is 'set by an emergency stop; no entries until a person resets it';

alter table account add column high_water numeric;
comment on column account.high_water is 'highest equity so far; drawdown is measured from it';

create table safety_level (
    account text primary key,
    level text not null,
    reason text not null,
    since timestamptz not null
);
comment on table safety_level is 'how careful the account is, by its own results';

alter table daily_counters
    add column opened integer not null default 0,
    add column losses integer not null default 0;
comment on column daily_counters.opened is 'positions opened in the UTC day';
comment on column daily_counters.losses is 'positions closed in the UTC day that cost money';

alter table marks
    add column bid numeric,
    add column ask numeric,
    add column funding_rate numeric,
    add column quoted_at timestamptz;

create index positions_closed on positions (account, closed_at desc, position_id desc)
    where status = 'closed';
