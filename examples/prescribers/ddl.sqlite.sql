CREATE TABLE prescribers_silver (
    npi             TEXT PRIMARY KEY,
    last_event_type TEXT,
    source          TEXT,
    last_ts         REAL,
    updated_at_utc  TEXT
);
