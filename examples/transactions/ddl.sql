-- The contract of the table; run by ingestd when the table is missing (create = true, ddl = "ddl.sql").
CREATE TABLE transactions_sink (
    tx_id       VARCHAR PRIMARY KEY,
    user_id     VARCHAR NOT NULL,
    amount      DECIMAL(10,2) NOT NULL,
    currency    VARCHAR(3) NOT NULL,
    merchant    VARCHAR(255) NOT NULL,
    category    VARCHAR(100) NOT NULL,
    timestamp   TIMESTAMP NOT NULL,
    ingested_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP
);
