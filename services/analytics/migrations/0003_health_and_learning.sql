-- Last sign of life of each replica, for people; decisions are made from memory.
create table heartbeats (
    service text not null,
    instance text not null,
    status text not null,
    reason text not null,
    seen_at timestamptz not null,
    uptime_seconds double precision not null,
    cpu_percent double precision not null,
    memory_percent double precision not null,
    progress jsonb not null,
    primary key (service, instance)
);

-- Health as it was last published, so that a change is published once.
create table service_status (
    service text primary key,
    status text not null,
    reason text not null,
    since timestamptz not null
);

-- One answer of the ensemble to one candle.
create table predictions (
    venue text not null,
    symbol text not null,
    timeframe text not null,
    candle_open timestamptz not null,
    model_version text not null,
    action text not null,
    confidence double precision not null,
    p_down double precision not null,
    p_flat double precision not null,
    p_up double precision not null,
    in_sample boolean not null,
    primary key (venue, symbol, timeframe, candle_open)
);
create table prediction_counts (
    model_version text not null,
    day date not null,
    action text not null,
    predictions bigint not null,
    primary key (model_version, day, action)
);
