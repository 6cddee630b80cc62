-- Orders whose cancel was asked for: it may arrive at any time until the order has ended.
create table cancels (
    account text not null,
    client_order_id text not null,
    primary key (account, client_order_id)
);
