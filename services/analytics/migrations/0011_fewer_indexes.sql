-- One index by time serves the newest events and makes each event unique; ids alone are hashes,
-- whose own index was written at random places.
alter table events drop constraint events_pkey;
drop index events_newest;
alter table events add primary key (timestamp, event_id);
drop index events_by_type;
create index events_by_type on events (type, timestamp);
-- `trades_closed` serves the same.
drop index trades_by_close;
