-- The table that ingestd makes by itself from examples/sales/ingestd.toml (create = true); here for those who prefer to.
CREATE TABLE public.sales_events (
    id         text PRIMARY KEY,
    ts         timestamptz NOT NULL,
    store_id   text NOT NULL,
    amount_usd numeric(12,2) NOT NULL,
    channel    text NOT NULL
);
