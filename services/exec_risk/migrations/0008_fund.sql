-- Versions of the fund's policy that this account has read, so that a restart decides the same.
create table fund_policies (
    account text not null,
    version integer not null,
    effective_from timestamptz not null,
    policy jsonb not null,
    primary key (account, version)
);

-- Directives that were answered: none is carried out twice.
create table directives_answered (
    directive_id text primary key,
    account text not null,
    symbol text not null,
    result text not null check (result in ('APPLIED', 'REFUSED', 'EXPIRED')),
    reason text not null,
    deadline timestamptz not null,
    answered_at timestamptz not null
);
create index directives_answered_deadline on directives_answered (account, deadline);

alter table protections add column hold_until timestamptz;
comment on column protections.hold_until is 'market time until which the exit by time is put off';
