-- REAL has four bytes in PostgreSQL, too few for a time: it would round to two minutes.
CREATE TABLE prescribers_silver (
    npi             text PRIMARY KEY,
    last_event_type text,
    source          text,
    last_ts         double precision,
    updated_at_utc  text
);
