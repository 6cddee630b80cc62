alter table requests add column traceparent text;
comment on column requests.traceparent is
    'W3C trace context of the call that asked, so that what the leader does is below it';
