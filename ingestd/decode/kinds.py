"""Which kind of record each one is: by its contract's version, or a tombstone. Reads nothing else of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from msgspec import Raw

from ingestd.batch import Record
from ingestd.config.options import Column
from ingestd.decode.plans import Plan, Plans
from ingestd.decode.shape import ABSENT, shape_of, shown

Sorted = tuple[list[tuple[Plan, list[int]]], dict[int, tuple[str | None, str]]]
"""Each kind with the rows that are of it, in order; row -> (no column, reason) of those that are of none."""
Sorter = Callable[[Sequence[Record], Sequence[bytes | None]], Sorted]

_UNREADABLE = (msgspec.MsgspecError, RecursionError, UnicodeError, TypeError, ValueError, OverflowError)
_MOST_SPELLINGS = 1_000


def sorter_of(plans: Plans, version_field: str | None) -> Sorter | None:
    """The function that tells records apart; None when all are of one kind.

    A record without the version field, or with null in it, is of the pipeline's own columns, and so is one in which
    it cannot be looked for: its own decoder says why. Text and numbers differ: "2" is not 2.
    """
    versions = _versions(plans, version_field) if version_field is not None else None
    if versions is None and plans.tombstone_object is None:
        return None

    def sort(records: Sequence[Record], values: Sequence[bytes | None]) -> Sorted:
        chosen: list[Plan | str] = versions(values) if versions is not None else [plans.own] * len(values)
        if plans.tombstone_object is not None and None in values:
            for row, value in enumerate(values):
                if value is None:
                    chosen[row] = _tombstone(records[row].key(), plans) or plans.own
        found: dict[int, tuple[Plan, list[int]]] = {}
        refused: dict[int, tuple[str | None, str]] = {}
        for row, plan in enumerate(chosen):
            if isinstance(plan, str):
                refused[row] = None, plan
            elif id(plan) in found:
                found[id(plan)][1].append(row)
            else:
                found[id(plan)] = (plan, [row])
        return list(found.values()), refused

    return sort


def _tombstone(key: bytes | None, plans: Plans) -> Plan | None:
    is_object = key is not None and key.lstrip().startswith(b"{")
    return plans.tombstone_object if is_object else plans.tombstone_text


def _versions(plans: Plans, version_field: str) -> Callable[[Sequence[bytes | None]], list[Plan | str]]:
    """A function from documents to the plan of each one's version, or to why there is none."""
    shape = shape_of([Column(name="version", type="jsonb", path=version_field)], optional=[0])
    spellings: dict[bytes, Plan] = {msgspec.json.encode(version): plan for version, plan in plans.by_version.items()}
    spellings[b"null"] = plans.own
    read: Callable[[Any], Any] = shape.read

    def plans_of(documents: Sequence[bytes | None]) -> list[Plan | str]:
        try:
            (given,) = shape.split([read(document or b"{}") for document in documents])
        except _UNREADABLE:
            return [plan_of(document) for document in documents]
        return [plans.own if version is ABSENT else named(version) for version in given]

    def plan_of(document: bytes | None) -> Plan | str:
        try:
            ((given,),) = shape.split([read(document)])
        except _UNREADABLE:
            return plans.own
        return plans.own if given is ABSENT else named(given)

    def named(given: Raw) -> Plan | str:
        text = bytes(given)
        if (plan := spellings.get(text)) is not None:
            return plan
        version = _decoded(given)
        if type(version) in (str, int) and version in plans.by_version:
            if len(spellings) < _MOST_SPELLINGS:
                spellings[text] = plans.by_version[version]
            return plans.by_version[version]
        # As JSON: the text "2" is not the number 2.
        said = shown(text.decode("utf-8", "replace"))[1:-1]
        return f"field {shown(version_field)}: no contract has version {said}"

    return plans_of


def _decoded(given: Raw) -> Any:
    try:
        return msgspec.json.decode(given)
    except _UNREADABLE:
        return None
