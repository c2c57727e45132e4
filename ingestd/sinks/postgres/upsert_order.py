"""How rows compare in SQL: by key and by version, null the oldest, text by its bytes. Runs nothing, knows no table."""

from collections.abc import Sequence
from functools import reduce

from psycopg import sql

from ingestd.schema.postgres import SchemaColumn

Word = sql.Composable
BYTES = ' COLLATE "C"'
_TEXTS = ("text", "varchar")


def words(parts: Sequence[Word], between: str = ", ") -> Word:
    """The parts with `between` between them."""
    return sql.SQL(between).join(parts)


def name(column: str, of: str | None = None) -> Word:
    """The quoted column, of a row where `of` names one."""
    return sql.Identifier(of, column) if of else sql.Identifier(column)


def by_bytes(column: SchemaColumn, word: Word) -> Word:
    """`word`, a value of `column`, as it compares."""
    return word + sql.SQL(BYTES) if column.type.scalar in _TEXTS else word


def same_key(key: Sequence[str], left: str, right: str) -> Word:
    """Whether two rows have one key."""
    return words([name(k, left) + sql.SQL(" = ") + name(k, right) for k in key], " AND ")


def later(pairs: Sequence[tuple[Word, Word]]) -> Word:
    """Whether the first of each pair, taken in turn, is greater than the second; null is the least."""

    def deeper(rest: Word | None, pair: tuple[Word, Word]) -> Word:
        shape = "{a} > {b} OR ({b} IS NULL AND {a} IS NOT NULL)"
        if rest is not None:
            shape += " OR ({a} IS NOT DISTINCT FROM {b} AND {rest})"
        return sql.SQL(f"({shape})").format(a=pair[0], b=pair[1], rest=rest)

    return reduce(deeper, list(pairs)[::-1], None) or sql.SQL("false")


def not_earlier(pairs: Sequence[tuple[Word, Word]]) -> Word:
    """The same, or equal."""
    if len(pairs) == 1:
        return sql.SQL("({b} IS NULL OR {a} >= {b})").format(a=pairs[0][0], b=pairs[0][1])
    return sql.SQL("({} OR {})").format(later(pairs), equal(pairs))


def equal(pairs: Sequence[tuple[Word, Word]]) -> Word:
    """Whether all pairs are equal; null equals null."""
    same = [sql.SQL("{} IS NOT DISTINCT FROM {}").format(a, b) for a, b in pairs]
    return sql.SQL("({})").format(words(same or [sql.SQL("true")], " AND "))


def version_pairs(versions: Sequence[SchemaColumn], left: str, right: str) -> list[tuple[Word, Word]]:
    """The version columns of two rows."""
    return [(by_bytes(c, name(c.name, left)), by_bytes(c, name(c.name, right))) for c in versions]
