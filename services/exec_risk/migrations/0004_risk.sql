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
