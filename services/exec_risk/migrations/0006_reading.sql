alter table account add column begun_at timestamptz, add column read_at timestamptz;
comment on column account.begun_at is
    'market time of the first reading: its wallet holds what was filled and settled until then';
comment on column account.read_at is
    'market time of the last full reading of the exchange: what came before is surely known';
