-- Stability indexes of the windows before, by what is watched: what is usual without drift.
alter table learning_state add column indexes jsonb not null default '{}';
