-- What came of each prediction, a row per model; by the UTC day of its candle, old days are dropped.
create table learning_samples (
    timestamp timestamptz not null,
    venue text not null,
    symbol text not null,
    timeframe text not null,
    model_version text not null,
    model_name text not null,
    stage text not null,
    prediction text not null,
    outcome text not null,
    prediction_confidence double precision not null,
    p_down double precision not null,
    p_flat double precision not null,
    p_up double precision not null,
    actual_pnl_pct double precision not null,
    prediction_error double precision not null,
    in_sample boolean not null,
    primary key (timestamp, symbol, venue, timeframe, model_version, model_name)
) partition by range (timestamp);
create index learning_samples_by_model on learning_samples (model_name, timestamp desc);

-- Recorded prediction batches that were judged; the ledger may get an older one later.
create table learning_judged (
    event_id text not null,
    timestamp timestamptz not null,
    primary key (timestamp, event_id)
);

-- Sums over the samples of an hour (or of the bucket that is set), from which windows are made.
create table learning_tallies (
    bucket timestamptz not null,
    stage text not null,
    model_version text not null,
    model_name text not null,
    numbers double precision[] not null,
    primary key (bucket, stage, model_version, model_name)
);
create table learning_spreads (
    bucket timestamptz not null,
    stage text not null,
    model_version text not null,
    quantity text not null,
    counts double precision[] not null,
    primary key (bucket, stage, model_version, quantity)
);

-- What an artifact is compared with: its manifest, or its own first window where that says nothing.
create table learning_references (
    model_version text not null,
    quantity text not null,
    origin text not null,
    counts double precision[] not null,
    primary key (model_version, quantity)
);
create table learning_expectations (
    model_version text not null,
    model_name text not null,
    origin text not null,
    hit_rate double precision not null,
    calibration_error double precision not null,
    primary key (model_version, model_name)
);

-- Closed candles in chunks of sixty, little-endian float64 [60, 5], for training.
create table learning_candles (
    venue text not null,
    symbol text not null,
    timeframe text not null,
    start timestamptz not null,
    bars bytea not null,
    primary key (venue, symbol, timeframe, start)
);
create index learning_candles_by_age on learning_candles (start);

-- The state of the loop: one row.
create table learning_state (
    id integer primary key check (id = 1),
    judged_until timestamptz,
    window_end timestamptz,
    samples bigint not null default 0,
    unknown bigint not null default 0,
    runs jsonb not null default '{}',
    drifting jsonb not null default '[]',
    state jsonb not null default '{}',
    active_version text not null default ''
);
insert into learning_state (id) values (1);

-- Requests of people: answered once, done by the replica that learns.
create table learning_requests (
    request_id text primary key,
    reason text not null,
    accepted boolean not null,
    message text not null,
    stage text not null,
    taken boolean not null default false,
    asked_at timestamptz not null default clock_timestamp()
);

-- The operations guide's table: a number of a model over a window.
create table model_performance (
    model_name text not null,
    metric_name text not null,
    metric_value double precision not null,
    sample_size bigint not null,
    window_start timestamptz not null,
    window_end timestamptz not null,
    metadata jsonb not null default '{}',
    primary key (window_end, window_start, model_name, metric_name, metadata)
);
