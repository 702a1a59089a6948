"""Every column and every kind of row that the story stored is listed in docs/data-map.md."""

import re
from collections import Counter, defaultdict
from pathlib import Path

from sandbox.azurite import HOST_ACCOUNT
from tests.story import leaks
from tests.story.conftest import Told

_MAP = Path(__file__).parent.parent.parent / "docs" / "data-map.md"
_ROW = re.compile(r"^\| `(\w+)` \| `([^`]+)` \| `(\w+)` \|", re.MULTILINE)


RARE = {
    r"Configuration operation\.[^.]+",  # a number is bought
    r"Configuration quota\.numbers",
    r"Configuration checks\.[^.]+",  # the timer's turn comes when it comes
    r"Configuration checklist\.[^.]+",  # somebody noted a date; tests/portal stores one
    r"Configuration credential\.[^.]+\.[^.]+",  # a tenant with credentials of its own; tests/tenants stores one
    r"Sessions handoff\.[^.]+",  # gone when its code was typed; tests/launch stores one
    r"Visits e\.[^.]+",  # a hospital that has its EHR hold the links; tests/visits stores one
    r"Visits w\.[^.]+",  # a visit waits for a second look: cancelled or vanished
    r"Visits b\.counts",  # the volume of told messages
    r"Visits b\.sender\.[^.]+",  # a paused sender
    r"Visits l\.[^.]+\.[^.]+\.[^.]+",  # a link or word of a delay that somebody sent
    r"Limits reply\.[^.]+\.[^.]+",  # an answer to a reply
    r"Limits pace",  # an e-mail
    r"Visits b\.health\.[^.]+",  # carriers block a sender
    r"OptOuts [^.]+",  # somebody said STOP
    r"Visits k\.[^.]+\.[^.]+",  # seconds long
}
"""Kinds that the story need not store; other tests store each."""


def listed() -> dict[str, dict[re.Pattern[str], set[str]]]:
    """Columns by table and by the form of the row key, as the map says."""
    found: dict[str, dict[re.Pattern[str], set[str]]] = defaultdict(lambda: defaultdict(set))
    for table, key, column in _ROW.findall(_MAP.read_text(encoding="utf-8")):
        form = "".join("[^.]+" if part.startswith("{") else re.escape(part) for part in re.split(r"(\{\w+\})", key))
        found[table][re.compile(form)].add(column)
    return found


def test_every_stored_column_is_in_the_data_map(told: Told) -> None:
    told.tell_everything()
    known = listed()
    stored = [row for row in leaks.rows(told.sandbox) + told.rows_on_the_way if row.account != HOST_ACCOUNT]
    unlisted = set[str]()
    kinds = set[tuple[str, str]]()
    for row in stored:
        if row.table == "Planted":  # by the canary
            continue
        forms = [form for form in known[row.table] if form.fullmatch(row.key)]
        if not forms:
            unlisted.add(f"{row.table}: a row like {row.key}")
            continue
        kinds |= {(row.table, form.pattern) for form in forms}
        columns = {"PartitionKey", "RowKey"}.union(*(known[row.table][form] for form in forms))
        unlisted |= {f"{row.table} {forms[0].pattern}: {name}" for name in row.columns if name not in columns}
    assert sorted(unlisted) == []
    never = {(table, form.pattern) for table, forms in known.items() for form in forms} - kinds
    assert {table + " " + form for table, form in never} <= RARE, "kinds never stored"


def test_each_column_is_in_the_data_map_once() -> None:
    rows = _ROW.findall(_MAP.read_text(encoding="utf-8"))
    assert rows and [row for row, count in Counter(rows).items() if count > 1] == []
