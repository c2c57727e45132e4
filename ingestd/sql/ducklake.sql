-- Statements of a DuckLake catalogue (format 1.0), written for both stores: {c} is the prefix of its tables, {f} the
-- manifest's table of files. Each begins with a line "-- name: x"; ingestd/stores/ducklake.py reads them.

-- name: create_metadata
CREATE TABLE {c}ducklake_metadata ("key" varchar NOT NULL, "value" varchar NOT NULL, "scope" varchar, scope_id bigint)

-- name: create_snapshot
CREATE TABLE {c}ducklake_snapshot (snapshot_id bigint PRIMARY KEY, snapshot_time {time}, schema_version bigint,
                                   next_catalog_id bigint, next_file_id bigint)

-- name: create_snapshot_changes
CREATE TABLE {c}ducklake_snapshot_changes (snapshot_id bigint PRIMARY KEY, changes_made varchar, author varchar,
                                           commit_message varchar, commit_extra_info varchar)

-- name: create_schema
CREATE TABLE {c}ducklake_schema (schema_id bigint PRIMARY KEY, schema_uuid {uuid}, begin_snapshot bigint,
                                 end_snapshot bigint, schema_name varchar, path varchar, path_is_relative {bool})

-- name: create_table
CREATE TABLE {c}ducklake_table (table_id bigint, table_uuid {uuid}, begin_snapshot bigint, end_snapshot bigint,
                                schema_id bigint, table_name varchar, path varchar, path_is_relative {bool})

-- name: create_view
CREATE TABLE {c}ducklake_view (view_id bigint, view_uuid {uuid}, begin_snapshot bigint, end_snapshot bigint,
                               schema_id bigint, view_name varchar, dialect varchar, "sql" varchar,
                               column_aliases varchar)

-- name: create_tag
CREATE TABLE {c}ducklake_tag (object_id bigint, begin_snapshot bigint, end_snapshot bigint, "key" varchar,
                              "value" varchar)

-- name: create_column_tag
CREATE TABLE {c}ducklake_column_tag (table_id bigint, column_id bigint, begin_snapshot bigint, end_snapshot bigint,
                                     "key" varchar, "value" varchar)

-- name: create_data_file
CREATE TABLE {c}ducklake_data_file (data_file_id bigint PRIMARY KEY, table_id bigint, begin_snapshot bigint,
                                    end_snapshot bigint, file_order bigint, path varchar, path_is_relative {bool},
                                    file_format varchar, record_count bigint, file_size_bytes bigint,
                                    footer_size bigint, row_id_start bigint, partition_id bigint,
                                    encryption_key varchar, mapping_id bigint, partial_max bigint)

-- name: create_file_column_stats
CREATE TABLE {c}ducklake_file_column_stats (data_file_id bigint, table_id bigint, column_id bigint,
                                            column_size_bytes bigint, value_count bigint, null_count bigint,
                                            min_value varchar, max_value varchar, contains_nan {bool},
                                            extra_stats varchar)

-- name: create_file_variant_stats
CREATE TABLE {c}ducklake_file_variant_stats (data_file_id bigint, table_id bigint, column_id bigint,
                                             variant_path varchar, shredded_type varchar, column_size_bytes bigint,
                                             value_count bigint, null_count bigint, min_value varchar,
                                             max_value varchar, contains_nan {bool}, extra_stats varchar)

-- name: create_delete_file
CREATE TABLE {c}ducklake_delete_file (delete_file_id bigint PRIMARY KEY, table_id bigint, begin_snapshot bigint,
                                      end_snapshot bigint, data_file_id bigint, path varchar, path_is_relative {bool},
                                      format varchar, delete_count bigint, file_size_bytes bigint, footer_size bigint,
                                      encryption_key varchar, partial_max bigint)

-- name: create_column
CREATE TABLE {c}ducklake_column (column_id bigint, begin_snapshot bigint, end_snapshot bigint, table_id bigint,
                                 column_order bigint, column_name varchar, column_type varchar,
                                 initial_default varchar, default_value varchar, nulls_allowed {bool},
                                 parent_column bigint, default_value_type varchar, default_value_dialect varchar)

-- name: create_table_stats
CREATE TABLE {c}ducklake_table_stats (table_id bigint, record_count bigint, next_row_id bigint, file_size_bytes bigint)

-- name: create_table_column_stats
CREATE TABLE {c}ducklake_table_column_stats (table_id bigint, column_id bigint, contains_null {bool},
                                             contains_nan {bool}, min_value varchar, max_value varchar,
                                             extra_stats varchar)

-- name: create_partition_info
CREATE TABLE {c}ducklake_partition_info (partition_id bigint, table_id bigint, begin_snapshot bigint,
                                         end_snapshot bigint)

-- name: create_partition_column
CREATE TABLE {c}ducklake_partition_column (partition_id bigint, table_id bigint, partition_key_index bigint,
                                           column_id bigint, transform varchar)

-- name: create_file_partition_value
CREATE TABLE {c}ducklake_file_partition_value (data_file_id bigint, table_id bigint, partition_key_index bigint,
                                               partition_value varchar)

-- name: create_files_scheduled_for_deletion
CREATE TABLE {c}ducklake_files_scheduled_for_deletion (data_file_id bigint, path varchar, path_is_relative {bool},
                                                       schedule_start {time})

-- name: create_inlined_data_tables
CREATE TABLE {c}ducklake_inlined_data_tables (table_id bigint, table_name varchar, schema_version bigint)

-- name: create_column_mapping
CREATE TABLE {c}ducklake_column_mapping (mapping_id bigint, table_id bigint, type varchar)

-- name: create_name_mapping
CREATE TABLE {c}ducklake_name_mapping (mapping_id bigint, column_id bigint, source_name varchar,
                                       target_field_id bigint, parent_column bigint, is_partition {bool})

-- name: create_schema_versions
CREATE TABLE {c}ducklake_schema_versions (begin_snapshot bigint, schema_version bigint, table_id bigint)

-- name: create_macro
CREATE TABLE {c}ducklake_macro (schema_id bigint, macro_id bigint, macro_name varchar, begin_snapshot bigint,
                                end_snapshot bigint)

-- name: create_macro_impl
CREATE TABLE {c}ducklake_macro_impl (macro_id bigint, impl_id bigint, dialect varchar, "sql" varchar, type varchar)

-- name: create_macro_parameters
CREATE TABLE {c}ducklake_macro_parameters (macro_id bigint, impl_id bigint, column_id bigint, parameter_name varchar,
                                           parameter_type varchar, default_value varchar, default_value_type varchar)

-- name: create_sort_info
CREATE TABLE {c}ducklake_sort_info (sort_id bigint, table_id bigint, begin_snapshot bigint, end_snapshot bigint)

-- name: create_sort_expression
CREATE TABLE {c}ducklake_sort_expression (sort_id bigint, table_id bigint, sort_key_index bigint, expression varchar,
                                          dialect varchar, sort_direction varchar, null_order varchar)

-- name: first_metadata
INSERT INTO {c}ducklake_metadata ("key", "value") VALUES (:key, :value)

-- name: first_schema
INSERT INTO {c}ducklake_schema (schema_id, schema_uuid, begin_snapshot, schema_name, path, path_is_relative)
VALUES (0, :uuid, 0, 'main', 'main/', {true})

-- name: version
SELECT "value" FROM {c}ducklake_metadata WHERE "key" = 'version'

-- name: last_snapshot
SELECT snapshot_id, schema_version, next_catalog_id, next_file_id FROM {c}ducklake_snapshot
ORDER BY snapshot_id DESC LIMIT 1

-- name: add_snapshot
INSERT INTO {c}ducklake_snapshot (snapshot_id, snapshot_time, schema_version, next_catalog_id, next_file_id)
VALUES (:snapshot, {now}, :schema_version, :next_catalog_id, :next_file_id)

-- name: add_snapshot_changes
INSERT INTO {c}ducklake_snapshot_changes (snapshot_id, changes_made, author)
VALUES (:snapshot, :changes, 'ingestd')

-- name: replace_snapshot
UPDATE {c}ducklake_snapshot
SET schema_version = :schema_version, next_catalog_id = :next_catalog_id, next_file_id = :next_file_id
WHERE snapshot_id = :snapshot

-- name: replace_snapshot_changes
UPDATE {c}ducklake_snapshot_changes SET changes_made = changes_made || ',' || :changes WHERE snapshot_id = :snapshot

-- name: find_table
SELECT table_id, path FROM {c}ducklake_table WHERE schema_id = 0 AND table_name = :label AND end_snapshot IS NULL

-- name: add_table
INSERT INTO {c}ducklake_table (table_id, table_uuid, begin_snapshot, schema_id, table_name, path, path_is_relative)
VALUES (:table_id, :uuid, :snapshot, 0, :label, :path, {false})

-- name: move_table
UPDATE {c}ducklake_table SET path = :path WHERE table_id = :table_id AND end_snapshot IS NULL

-- name: first_table_stats
INSERT INTO {c}ducklake_table_stats (table_id, record_count, next_row_id, file_size_bytes) VALUES (:table_id, 0, 0, 0)

-- name: table_stats
SELECT next_row_id FROM {c}ducklake_table_stats WHERE table_id = :table_id

-- name: add_table_stats
UPDATE {c}ducklake_table_stats
SET record_count = record_count + :rows, next_row_id = next_row_id + :new_rows,
    file_size_bytes = file_size_bytes + :nbytes
WHERE table_id = :table_id

-- name: add_schema_version
INSERT INTO {c}ducklake_schema_versions (begin_snapshot, schema_version, table_id)
VALUES (:snapshot, :schema_version, :table_id)

-- name: columns
SELECT column_id, column_name, column_type, parent_column, column_order FROM {c}ducklake_column
WHERE table_id = :table_id AND end_snapshot IS NULL
ORDER BY column_order

-- name: last_column_id
SELECT coalesce(max(column_id), 0) FROM {c}ducklake_column WHERE table_id = :table_id

-- name: end_column
UPDATE {c}ducklake_column SET end_snapshot = :snapshot
WHERE table_id = :table_id AND column_id = :column_id AND end_snapshot IS NULL

-- name: drop_new_column
DELETE FROM {c}ducklake_column WHERE table_id = :table_id AND begin_snapshot = end_snapshot

-- name: add_column
INSERT INTO {c}ducklake_column (column_id, begin_snapshot, table_id, column_order, column_name, column_type,
                                default_value, nulls_allowed, parent_column, default_value_type, default_value_dialect)
VALUES (:column_id, :snapshot, :table_id, :column_id, :label, :type, 'NULL', {true}, :parent, 'literal', 'duckdb')

-- name: mappings
SELECT m.mapping_id, n.source_name, n.target_field_id, n.parent_column
FROM {c}ducklake_column_mapping m JOIN {c}ducklake_name_mapping n ON n.mapping_id = m.mapping_id
WHERE m.table_id = :table_id
ORDER BY m.mapping_id, n.column_id

-- name: add_mapping
INSERT INTO {c}ducklake_column_mapping (mapping_id, table_id, type) VALUES (:mapping_id, :table_id, 'map_by_name')

-- name: add_name
INSERT INTO {c}ducklake_name_mapping (mapping_id, column_id, source_name, target_field_id, parent_column, is_partition)
VALUES (:mapping_id, :number, :source_name, :column_id, :parent, {false})

-- name: partitions
SELECT i.partition_id, c.column_id, c.transform
FROM {c}ducklake_partition_info i JOIN {c}ducklake_partition_column c
     ON c.partition_id = i.partition_id AND c.table_id = i.table_id
WHERE i.table_id = :table_id AND i.end_snapshot IS NULL
ORDER BY c.partition_key_index

-- name: end_partitions
UPDATE {c}ducklake_partition_info SET end_snapshot = :snapshot WHERE table_id = :table_id AND end_snapshot IS NULL

-- name: add_partitions
INSERT INTO {c}ducklake_partition_info (partition_id, table_id, begin_snapshot)
VALUES (:partition_id, :table_id, :snapshot)

-- name: add_partition_column
INSERT INTO {c}ducklake_partition_column (partition_id, table_id, partition_key_index, column_id, transform)
VALUES (:partition_id, :table_id, :number, :column_id, :transform)

-- name: add_file
INSERT INTO {c}ducklake_data_file (data_file_id, table_id, begin_snapshot, path, path_is_relative, file_format,
                                   record_count, file_size_bytes, footer_size, row_id_start, partition_id, mapping_id)
VALUES (:file_id, :table_id, :snapshot, :path, {true}, 'parquet', :rows, :nbytes, :footer_size, :row_id_start,
        :partition_id, :mapping_id)

-- name: add_file_stats
INSERT INTO {c}ducklake_file_column_stats (data_file_id, table_id, column_id, column_size_bytes, value_count,
                                           null_count, min_value, max_value)
VALUES (:file_id, :table_id, :column_id, :nbytes, :values, :nulls, :min, :max)

-- name: add_partition_value
INSERT INTO {c}ducklake_file_partition_value (data_file_id, table_id, partition_key_index, partition_value)
VALUES (:file_id, :table_id, :number, :value)

-- name: ended_files
SELECT count(*), coalesce(sum(record_count), 0), coalesce(sum(file_size_bytes), 0) FROM {c}ducklake_data_file
WHERE table_id = :table_id AND end_snapshot IS NULL AND path IN ({paths})

-- name: end_files
UPDATE {c}ducklake_data_file SET end_snapshot = :snapshot
WHERE table_id = :table_id AND end_snapshot IS NULL AND path IN ({paths})

-- name: expire_snapshots
DELETE FROM {c}ducklake_snapshot WHERE snapshot_id < :snapshot AND snapshot_time < {hour_ago}

-- name: expire_changes
DELETE FROM {c}ducklake_snapshot_changes
WHERE snapshot_id < (SELECT min(snapshot_id) FROM {c}ducklake_snapshot)

-- name: expire_stats
DELETE FROM {c}ducklake_file_column_stats
WHERE data_file_id IN (SELECT data_file_id FROM {c}ducklake_data_file
                       WHERE end_snapshot <= (SELECT min(snapshot_id) FROM {c}ducklake_snapshot))

-- name: expire_partition_values
DELETE FROM {c}ducklake_file_partition_value
WHERE data_file_id IN (SELECT data_file_id FROM {c}ducklake_data_file
                       WHERE end_snapshot <= (SELECT min(snapshot_id) FROM {c}ducklake_snapshot))

-- name: expire_files
DELETE FROM {c}ducklake_data_file WHERE end_snapshot <= (SELECT min(snapshot_id) FROM {c}ducklake_snapshot)

-- name: live_paths
SELECT path FROM {c}ducklake_data_file WHERE table_id = :table_id AND end_snapshot IS NULL

-- name: keys_of
SELECT CASE WHEN directory = '' THEN name ELSE directory || '/' || name END FROM {f}
WHERE pipeline = :pipeline AND id IN ({ids})

-- name: manifest_files
SELECT directory, name, staged, rows, nbytes FROM {f} WHERE pipeline = :pipeline AND state <> 'replaced' ORDER BY id
