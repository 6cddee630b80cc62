-- The fund's policy: a row per version, never changed; the key-value store holds copies.
create table policy_versions (
    version integer primary key check (version >= 1),
    effective_from timestamptz not null,
    fund_mode text not null,
    system_mode text not null,
    policy jsonb not null,
    updated_by text not null,
    reasons text[] not null,
    changed_fields text[] not null,
    decided_at timestamptz not null,
    request_id text unique,
    request text,
    recorded_at timestamptz not null default clock_timestamp()
);
comment on column policy_versions.decided_at is 'market time';
