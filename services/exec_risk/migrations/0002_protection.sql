alter table plans add column atr_fraction numeric not null default 0;
comment on column plans.atr_fraction is 'average true range at the decision, fraction of price';

create table protections (
    position_id text primary key,
    account text not null,
    stage text not null check (stage in ('FIRST', 'BREAK_EVEN', 'TRAILING')),
    best_price numeric,
    stop_price numeric,
    taken numeric not null,
    version integer not null
);
comment on table protections is 'how far the stop and the targets of a position have come';
comment on column protections.stop_price is 'where the moved stop belongs; null while the first holds';
comment on column protections.taken is 'quantity that targets have closed';
