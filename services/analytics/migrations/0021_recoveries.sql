-- What was asked of supervisors and what they did, also by themselves.
create table recoveries (
    recovery_id text primary key,
    action text not null,
    service text not null,
    instance text not null,
    reason text not null,
    asked boolean not null,
    asked_at timestamptz not null,
    done boolean,
    answer text not null default '',
    done_at timestamptz
);
create index recoveries_newest on recoveries (asked_at desc);

-- What the rules of self-healing remember of each replica.
create table recovery_histories (
    service text not null,
    instance text not null,
    asked timestamptz[] not null,
    touched_at timestamptz not null,
    given_up boolean not null,
    reason text not null,
    drained boolean not null,
    well_since timestamptz,
    primary key (service, instance)
);
