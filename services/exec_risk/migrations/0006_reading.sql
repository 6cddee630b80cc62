alter table account add column read_at timestamptz;
comment on column account.read_at is
    'market time of the last full reading of the exchange: what came before is surely known';
