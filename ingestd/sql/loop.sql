-- name: loop
-- The patient way: staged rows go in 50 at a time, and row by row where one of them is refused. Errors that are not a
-- record's fault are raised again. {insert_block} and {insert_row} are the table's own statements. Rows are numbered as
-- they came: the heap keeps no order, a small row goes back into the free space of an earlier page.
DO $ingestd$
#variable_conflict use_column
DECLARE
    ingestd_next bigint;
    ingestd_end bigint;
    ingestd_first bigint;
    ingestd_written bigint := 0;
    ingestd_added bigint;
    ingestd_staged record;
    ingestd_said text;
    ingestd_column text;
    ingestd_constraint text;
BEGIN
    SELECT min(ingestd_row), max(ingestd_row) + 1 INTO ingestd_first, ingestd_end FROM pg_temp.ingestd_indexed;
    ingestd_next := ingestd_first;
    WHILE ingestd_next < ingestd_end LOOP
        BEGIN
            {insert_block}
            GET DIAGNOSTICS ingestd_added = ROW_COUNT;
            ingestd_written := ingestd_written + ingestd_added;
        EXCEPTION WHEN OTHERS THEN
            IF NOT {is_record_fault} THEN RAISE; END IF;
            FOR ingestd_staged IN
                SELECT * FROM pg_temp.ingestd_indexed
                WHERE ingestd_row >= ingestd_next AND ingestd_row < ingestd_next + 50 ORDER BY ingestd_row
            LOOP
                BEGIN
                    {insert_row}
                    GET DIAGNOSTICS ingestd_added = ROW_COUNT;
                    ingestd_written := ingestd_written + ingestd_added;
                EXCEPTION WHEN OTHERS THEN
                    IF NOT {is_record_fault} THEN RAISE; END IF;
                    GET STACKED DIAGNOSTICS ingestd_said = MESSAGE_TEXT, ingestd_column = COLUMN_NAME,
                        ingestd_constraint = CONSTRAINT_NAME;
                    INSERT INTO pg_temp.ingestd_refused VALUES (ingestd_staged.ingestd_row - ingestd_first, SQLSTATE,
                        ingestd_said, ingestd_column, ingestd_constraint);
                END;
            END LOOP;
        END;
        ingestd_next := ingestd_next + 50;
    END LOOP;
    INSERT INTO pg_temp.ingestd_refused VALUES (-1, NULL, ingestd_written::text, NULL, NULL);
END
$ingestd$
