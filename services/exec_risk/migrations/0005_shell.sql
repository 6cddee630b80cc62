create index requests_answered on requests (answered_at) where answered_at is not null;
