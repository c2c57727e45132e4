"""Ways in which PostgreSQL refuses a row, each as a table, a bad value and the SQLSTATE; ids are texts, v may be 1."""

import hashlib
from typing import Any

TRIGGER = """
CREATE FUNCTION judge() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} RETURN NEW; END $$;
CREATE TRIGGER judge BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION judge();
"""


def triggered(body: str, table: str = "id text PRIMARY KEY, v int, w text") -> str:
    return f"CREATE TABLE orders ({table});" + TRIGGER.replace("{body}", body)


REFUSALS: dict[str, tuple[str, dict[str, Any], str]] = {
    # name -> (DDL, a bad value, SQLSTATE)
    "raise": (triggered("IF NEW.v < 0 THEN RAISE 'no'; END IF;"), {"v": -1}, "P0001"),
    "foreign_key": (
        "CREATE TABLE kinds (w text PRIMARY KEY); INSERT INTO kinds VALUES ('a');"
        "CREATE TABLE orders (id text PRIMARY KEY, v int, w text REFERENCES kinds)",
        {"w": "z"},
        "23503",
    ),
    "not_null": ("CREATE TABLE orders (id text PRIMARY KEY, v int NOT NULL, w text)", {"v": None}, "23502"),
    "exclusion": (
        "CREATE TABLE orders (id text PRIMARY KEY, v int, w text, EXCLUDE (w WITH =) WHERE (v < 0));"
        "INSERT INTO orders VALUES ('old', -1, 'a')",
        {"v": -1},
        "23P01",
    ),
    "oversized_index_key": (
        "CREATE TABLE orders (id text PRIMARY KEY, v int, w text); CREATE INDEX ON orders (w);"
        "ALTER TABLE orders ALTER COLUMN w SET STORAGE PLAIN",
        {"w": "".join(hashlib.sha256(b"%d" % n).hexdigest() for n in range(100))},
        "54000",
    ),
    "second_unique_index": (
        "CREATE TABLE orders (id text PRIMARY KEY, v int, w text); CREATE UNIQUE INDEX ON orders (v) WHERE v < 0;"
        "INSERT INTO orders VALUES ('old', -5, 'a')",
        {"v": -5},
        "23505",
    ),
    "overflow_in_a_trigger": (
        "CREATE TABLE notes (short varchar(3));" + triggered("INSERT INTO notes VALUES (NEW.w);"),
        {"w": "long text"},
        "22001",
    ),
    "generated_column": (
        "CREATE TABLE orders (id text PRIMARY KEY, v int, w text, g int GENERATED ALWAYS AS (10 / v) STORED)",
        {"v": 0},
        "22012",
    ),
    "check_that_raises": (
        "CREATE TABLE orders (id text PRIMARY KEY, v int, w text, CHECK (10 / v > 0))",
        {"v": 0},
        "22012",
    ),
    "check_on_a_column_not_declared": (
        triggered("NEW.x := NEW.v;", "id text PRIMARY KEY, v int, w text, x int DEFAULT 1 CHECK (x > 0)"),
        {"v": -1},
        "23514",
    ),
    "no_partition_for_the_row": (
        "CREATE TABLE orders (id text, v int, w text, PRIMARY KEY (id, v)) PARTITION BY RANGE (v);"
        "CREATE TABLE orders_1 PARTITION OF orders FOR VALUES FROM (0) TO (100)",
        {"v": -1},
        "23514",
    ),
    "domain": (
        "CREATE DOMAIN positive AS int CHECK (VALUE > 0);CREATE TABLE orders (id text PRIMARY KEY, v positive, w text)",
        {"v": -1},
        "23514",
    ),
    "text_that_is_no_number": (
        triggered("PERFORM NEW.w::int;").replace("NEW.w::int", "nullif(NEW.w, 'a')::int"),
        {"w": "z"},
        "22P02",
    ),
    "number_out_of_range": (
        "CREATE TABLE orders (id text PRIMARY KEY, v int, w text, g int2 GENERATED ALWAYS AS (v::int2) STORED)",
        {"v": 99_999},
        "22003",
    ),
    "logarithm_of_nothing": (
        "CREATE TABLE orders (id text PRIMARY KEY, v int, w text, g float8 GENERATED ALWAYS AS (ln(v)) STORED)",
        {"v": 0},
        "2201E",
    ),
    "date_out_of_range": (triggered("PERFORM date '5874897-12-31' + (NEW.v - 1);"), {"v": 2}, "22008"),
    "view_with_check_option": (
        "CREATE TABLE notes (v int); CREATE VIEW narrow AS SELECT v FROM notes WHERE v < 100 WITH CHECK OPTION;"
        + triggered("INSERT INTO narrow VALUES (NEW.v);"),
        {"v": 200},
        "44000",
    ),
    "more_rows_than_one": (triggered("NEW.v := (SELECT n FROM generate_series(1, NEW.v) n);"), {"v": 2}, "21000"),
    "nested_too_deep": (
        triggered("IF NEW.v < 0 THEN PERFORM (repeat('[', 100000) || repeat(']', 100000))::jsonb; END IF;"),
        {"v": -1},
        "54001",
    ),
}

DEFERRED: dict[str, tuple[str, dict[str, Any], str]] = {
    # What only COMMIT raises.
    "foreign_key": (
        "CREATE TABLE kinds (w text PRIMARY KEY); INSERT INTO kinds VALUES ('a');"
        "CREATE TABLE orders (id text PRIMARY KEY, v int, w text REFERENCES kinds DEFERRABLE INITIALLY DEFERRED)",
        {"w": "z"},
        "23503",
    ),
    "unique": (
        "CREATE TABLE orders (id text PRIMARY KEY, v int, w text);"
        "CREATE TABLE once (w text UNIQUE DEFERRABLE INITIALLY DEFERRED); INSERT INTO once VALUES ('z');"
        + TRIGGER.replace("{body}", "IF NEW.w <> 'a' THEN INSERT INTO once VALUES (NEW.w); END IF;"),
        {"w": "z"},
        "23505",
    ),
    "constraint_trigger": (
        "CREATE TABLE orders (id text PRIMARY KEY, v int, w text);"
        "CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS $$"
        "BEGIN IF NEW.v < 0 THEN RAISE 'late'; END IF; RETURN NULL; END $$;"
        "CREATE CONSTRAINT TRIGGER late AFTER INSERT ON orders DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION late()",
        {"v": -1},
        "P0001",
    ),
}
