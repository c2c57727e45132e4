-- What `ingestd check` asks a database. Statements begin with a line "-- name: x".

-- name: read_only
SELECT pg_is_in_recovery() OR current_setting('default_transaction_read_only') = 'on'

-- name: ledger
SELECT n.oid IS NOT NULL,
       cursors.oid IS NOT NULL AND letters.oid IS NOT NULL,
       has_database_privilege(current_database(), 'CREATE'),
       coalesce(has_schema_privilege(n.oid, 'CREATE') AND has_schema_privilege(n.oid, 'USAGE'), false),
       coalesce(has_schema_privilege(n.oid, 'USAGE')
                AND has_table_privilege(cursors.oid, 'SELECT') AND has_table_privilege(cursors.oid, 'INSERT')
                AND has_table_privilege(cursors.oid, 'UPDATE')
                AND has_table_privilege(letters.oid, 'SELECT') AND has_table_privilege(letters.oid, 'INSERT')
                AND has_table_privilege(letters.oid, 'UPDATE')
                AND (ranges.oid IS NULL OR has_table_privilege(ranges.oid, 'INSERT')), false),
       has_database_privilege(current_database(), 'TEMPORARY'),
       current_database(),
       current_user
FROM (SELECT) one
LEFT JOIN pg_namespace n ON n.nspname = 'ingestd'
LEFT JOIN pg_class cursors ON cursors.relnamespace = n.oid AND cursors.relname = 'cursors'
LEFT JOIN pg_class letters ON letters.relnamespace = n.oid AND letters.relname = 'dead_letters'
LEFT JOIN pg_class ranges ON ranges.relnamespace = n.oid AND ranges.relname = 'ranges'

-- name: table_missing
SELECT NOT EXISTS (
    SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relname = %(table)s
      AND CASE WHEN %(schema)s::text IS NULL THEN pg_table_is_visible(c.oid) ELSE n.nspname = %(schema)s END)
