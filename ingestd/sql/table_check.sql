-- What the catalogue says of a table. None of these needs a privilege, and none fails when the table is missing.

-- name: find_table
-- An unqualified name is looked up along the search path, as the sink's own statements will do it.
SELECT c.oid, c.relkind::text, has_schema_privilege(n.oid, 'USAGE'), row_security_active(c.oid), n.nspname,
       has_table_privilege(c.oid, 'DELETE')
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relname = %(table)s
  AND CASE WHEN %(schema)s::text IS NULL THEN pg_table_is_visible(c.oid) ELSE n.nspname = %(schema)s END

-- name: find_columns
-- A domain is compared by the type under it: values reach it in that type's form.
SELECT a.attname,
       format_type(a.atttypid, a.atttypmod),
       CASE WHEN t.typtype = 'd' THEN format_type(t.typbasetype, t.typtypmod)
            ELSE format_type(a.atttypid, a.atttypmod) END,
       a.attnotnull,
       a.atthasdef OR a.attidentity <> '' OR t.typdefault IS NOT NULL,
       a.attgenerated <> '',
       a.attidentity = 'a',
       has_column_privilege(a.attrelid, a.attnum, 'INSERT'),
       has_column_privilege(a.attrelid, a.attnum, 'SELECT'),
       has_column_privilege(a.attrelid, a.attnum, 'UPDATE')
FROM pg_attribute a
JOIN pg_type t ON t.oid = a.atttypid
WHERE a.attrelid = %(oid)s AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum

-- name: find_unique_keys
-- Only what ON CONFLICT (columns) can use: whole, valid, on plain columns, checked at once.
SELECT array_agg(a.attname ORDER BY a.attname)::text[]
FROM pg_index i
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey[0:i.indnkeyatts - 1])
WHERE i.indrelid = %(oid)s AND i.indisunique AND i.indisvalid AND i.indimmediate
  AND i.indpred IS NULL AND i.indexprs IS NULL
GROUP BY i.indexrelid

-- name: find_rules
-- COPY goes past rules, INSERT obeys them: the same record would fare differently in another batch.
SELECT r.rulename::text
FROM pg_rewrite r
WHERE r.ev_class = %(oid)s AND r.ev_type IN ('2', '3', '4') AND r.ev_enabled <> 'D'
ORDER BY 1

-- name: find_loose_collations
SELECT a.attname::text, c.collname::text
FROM pg_attribute a
JOIN pg_collation c ON c.oid = a.attcollation
WHERE a.attrelid = %(oid)s AND a.attnum > 0 AND NOT a.attisdropped AND NOT c.collisdeterministic

-- name: find_surprises
-- What may keep a row out of the table, or another row of its key in a child of it.
SELECT 'trigger', t.tgname::text
FROM pg_trigger t
WHERE t.tgrelid = %(oid)s AND NOT t.tgisinternal AND t.tgenabled NOT IN ('D', 'R')
  AND t.tgtype & 3 = 3 AND t.tgtype & 28 <> 0
UNION ALL
SELECT 'child', i.inhrelid::regclass::text
FROM pg_inherits i
JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = %(oid)s AND NOT c.relispartition
