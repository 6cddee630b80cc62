create table outbox (
    id bigint generated always as identity primary key,
    message_id text not null unique,
    subject text not null,
    data bytea not null,
    headers jsonb not null,
    created_at timestamptz not null default clock_timestamp(),
    sequence bigint,
    published_at timestamptz
);
create index outbox_open on outbox (id) where published_at is null;
create index outbox_sequence on outbox (sequence) where sequence is not null;

create table inbox (
    consumer text not null,
    message_id text not null,
    handled_at timestamptz not null default clock_timestamp(),
    primary key (consumer, message_id)
);

create table lease (
    resource text primary key,
    token bigint not null,
    owner text not null,
    expires timestamptz not null
);
