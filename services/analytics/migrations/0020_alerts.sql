-- Alerts from their cause to their end; one open row for each kind and component.
create table alerts (
    alert_id text primary key,
    alert_type text not null,
    severity text not null check (severity in ('LOW', 'MEDIUM', 'HIGH', 'CRITICAL')),
    component text not null,
    message text not null,
    details jsonb not null default '{}',
    runbook text not null,
    source text not null check (source in ('analytics', 'alertmanager')),
    created_at timestamptz not null,
    updated_at timestamptz not null,
    acknowledged boolean not null default false,
    acknowledged_by text not null default '',
    acknowledged_at timestamptz,
    note text not null default '',
    resolved boolean not null default false,
    resolved_at timestamptz
);
create unique index alerts_open on alerts (source, alert_type, component) where not resolved;
create index alerts_newest on alerts (created_at desc, alert_id desc);

-- Messages to people: at most one of each state through a channel.
create table alert_deliveries (
    alert_id text not null references alerts (alert_id),
    channel text not null,
    state text not null check (state in ('raised', 'resolved')),
    status text not null check (status in ('waiting', 'delivered', 'failed')),
    attempts integer not null,
    error text not null,
    tried_at timestamptz,
    primary key (alert_id, channel, state)
);
create index alert_deliveries_waiting on alert_deliveries (alert_id) where status = 'waiting';
