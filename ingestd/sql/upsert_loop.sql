-- name: loop
-- The patient way: staged changes go in 50 at a time, and one by one where one of them is refused. Errors that are not
-- a record's fault are raised again. {write_block} and {write_row} are the table's own statements.
DO $ingestd$
#variable_conflict use_column
DECLARE
    ingestd_next integer := 0;
    ingestd_one integer;
    ingestd_end integer;
    ingestd_said text;
    ingestd_column text;
    ingestd_constraint text;
BEGIN
    SELECT max(ingestd_row) + 1 INTO ingestd_end FROM pg_temp.ingestd_changes_indexed;
    WHILE ingestd_next < ingestd_end LOOP
        BEGIN
            {write_block}
        EXCEPTION WHEN OTHERS THEN
            IF NOT {is_record_fault} THEN RAISE; END IF;
            FOR ingestd_one IN
                SELECT ingestd_row FROM pg_temp.ingestd_changes_indexed
                WHERE ingestd_row >= ingestd_next AND ingestd_row < ingestd_next + 50 ORDER BY ingestd_row
            LOOP
                BEGIN
                    {write_row}
                EXCEPTION WHEN OTHERS THEN
                    IF NOT {is_record_fault} THEN RAISE; END IF;
                    GET STACKED DIAGNOSTICS ingestd_said = MESSAGE_TEXT, ingestd_column = COLUMN_NAME,
                        ingestd_constraint = CONSTRAINT_NAME;
                    INSERT INTO pg_temp.ingestd_upsert_refused VALUES (ingestd_one, SQLSTATE, ingestd_said, ingestd_column,
                        ingestd_constraint);
                END;
            END LOOP;
        END;
        ingestd_next := ingestd_next + 50;
    END LOOP;
END
$ingestd$
