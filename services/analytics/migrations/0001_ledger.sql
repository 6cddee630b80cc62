-- The ledger: every event once, partitioned by the month of its own market time.
create table events (
    event_id text not null,
    timestamp timestamptz not null,
    type text not null,
    source text not null,
    trace_id text not null,
    key text not null,
    subject text not null,
    sequence bigint not null,
    data jsonb not null,
    payload bytea not null,
    recorded_at timestamptz not null default clock_timestamp(),
    primary key (event_id, timestamp)
) partition by range (timestamp);
create index events_newest on events (timestamp desc, event_id desc);
create index events_by_type on events (type, timestamp desc, event_id desc);
create index events_by_trace on events (trace_id, timestamp) where trace_id <> '';

-- Messages that could not be read; the messages themselves lie in the dead-letter stream.
create table rejections (
    stream text not null,
    sequence bigint not null,
    subject text not null,
    type text not null,
    reason text not null,
    rejected_at timestamptz not null default clock_timestamp(),
    primary key (stream, sequence)
);
create index rejections_newest on rejections (rejected_at desc);
