-- name: loop
-- The patient way: staged rows go in block by block of the staging table's heap (about 50 rows each), a refused block row
-- by row. Rows keep the order of the COPY, so counting them gives the row number. Errors that are not a record's fault are
-- raised again. {insert_block} and {insert_row} are the table's own statements.
DO $ingestd$
DECLARE
    blocks bigint := pg_relation_size('pg_temp.ingestd_staging') / current_setting('block_size')::bigint;
    done integer := 0;
    block_rows integer;
    low tid;
    high tid;
    written bigint := 0;
    added bigint;
    staged record;
    said text;
    said_column text;
    said_constraint text;
BEGIN
    FOR block IN 0 .. blocks - 1 LOOP
        low := format('(%s,0)', block)::tid;
        high := format('(%s,0)', block + 1)::tid;
        SELECT count(*) INTO block_rows FROM pg_temp.ingestd_staging WHERE ctid >= low AND ctid < high;
        BEGIN
            {insert_block}
            GET DIAGNOSTICS added = ROW_COUNT;
            written := written + added;
            done := done + block_rows;
        EXCEPTION WHEN OTHERS THEN
            IF NOT {is_record_fault} THEN RAISE; END IF;
            FOR staged IN SELECT * FROM pg_temp.ingestd_staging WHERE ctid >= low AND ctid < high LOOP
                BEGIN
                    {insert_row}
                    GET DIAGNOSTICS added = ROW_COUNT;
                    written := written + added;
                EXCEPTION WHEN OTHERS THEN
                    IF NOT {is_record_fault} THEN RAISE; END IF;
                    GET STACKED DIAGNOSTICS said = MESSAGE_TEXT, said_column = COLUMN_NAME,
                        said_constraint = CONSTRAINT_NAME;
                    INSERT INTO pg_temp.ingestd_refused VALUES (done, SQLSTATE, said, said_column, said_constraint);
                END;
                done := done + 1;
            END LOOP;
        END;
    END LOOP;
    INSERT INTO pg_temp.ingestd_refused VALUES (-1, NULL, written::text, NULL, NULL);
END
$ingestd$
