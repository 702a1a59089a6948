"""Nothing of a patient, and no secret, is left behind by the whole story: not in storage, log, addresses or texts."""

import base64
import gzip
import json
import re
import zlib
from dataclasses import dataclass

import pytest
from azure.data.tables import TableServiceClient
from azure.storage.queue import QueueServiceClient

from tests.story import leaks
from tests.story.conftest import Told

_JWT = re.compile(rb"eyJ[\w-]{8,}\.[\w-]{8,}")


@dataclass(frozen=True)
class Place:
    """Something that was left behind; `staff_ids`: whether a clinician's EHR id is forbidden there too."""

    name: str
    content: bytes
    staff_ids: bool = True


def places(told: Told) -> list[Place]:
    """What the story left behind. Table Links may hold the EHR's id of a clinician, and so may the file of tables."""
    found = leaks.rows(told.sandbox) + told.rows_on_the_way
    links = [row for row in found if row.table == "Links"]
    others = [row for row in found if row.table != "Links"]
    assert len(links) >= 2 and {row.table for row in others} >= {"Visits", "Sessions", "Configuration", "Directory"}
    outbox = told.sandbox.world.outbox
    mail = [f"{m.subject} {m.text} {m.html}" for m in told.sandbox.world.mail]
    return [
        Place("links", b"\n".join(map(leaks.as_bytes, links)), staff_ids=False),
        Place("tables", b"\n".join(map(leaks.as_bytes, others))),
        Place("queues", "\n".join(leaks.queued(told.sandbox) + told.queued_on_the_way).encode()),
        Place("log", told.sandbox.app_log.read_bytes()),
        Place("addresses", "\n".join(sorted(told.heard.urls)).encode()),
        Place("texts", "\n".join([*(m.text for m in outbox), *mail]).encode()),
        *(Place(f"disk {name}", data, staff_ids=False) for name, data in leaks.on_disk(told.sandbox).items()),
    ]


def leaked(told: Told, found: list[Place]) -> set[tuple[str, str]]:
    names = leaks.Names(told.sandbox.world)
    return {
        (place.name, label)
        for place in found
        for label in names.found_in(place.content, staff_ids=place.staff_ids)
    }


def test_no_person_is_left_behind_and_a_planted_one_is_found(told: Told) -> None:
    told.tell_everything()
    found = places(told)
    sizes = {place.name: len(place.content) for place in found}
    assert all(sizes[name] > 500 for name in ("links", "tables", "log", "addresses", "texts")), sizes
    assert sizes["disk __azurite_db_table__.json"] > 20_000
    (hints,) = [place.content for place in found if place.name == "disk __queuestorage__"]
    assert b"discover-" in found[2].content and b'"connection":"' in hints and b'"from":"d.' in hints
    assert leaked(told, found) == set()
    plant(told)
    assert leaked(told, places(told)) == {
        ("tables", "mira given"),
        ("tables", "mira family"),
        ("tables", "karoline MRN"),
        ("queues", "soren home phone"),
        ("disk __queuestorage__", "soren home phone"),
        ("log", "odette mobile"),
        ("disk __azurite_db_table__.json", "mira given"),
        ("disk __azurite_db_table__.json", "mira family"),
        ("disk __azurite_db_table__.json", "karoline MRN"),
        ("addresses", "soren family"),
    }


def plant(told: Told) -> None:
    """A name in base64 and a record number gzipped into a row; numbers into a queue and the log; a name into a URL."""
    sandbox, world = told.sandbox, told.sandbox.world
    mira, _, odette, *_ = world.hospitals["harbor"].patients
    karoline, _, _, soren, _ = world.hospitals["nordlys"].patients
    with TableServiceClient.from_connection_string(sandbox.azurite.connection_string("emea")) as service:
        table = service.create_table("Planted")
        named = base64.b64encode(f"for {mira.given} {mira.family}".encode()).decode()
        packed = gzip.compress(f"record {karoline.mrn}".encode())
        table.create_entity({"PartitionKey": "p", "RowKey": "r", "named": f"x-{named}", "packed": packed})
    with QueueServiceClient.from_connection_string(sandbox.azurite.connection_string("apac")) as queues:
        queues.create_queue("planted").send_message(base64.b64encode(f"0045{soren.home_phone[3:]}".encode()).decode())
    with sandbox.app_log.open("a", encoding="utf-8") as log:
        spelled = f"({odette.mobile[2:5]}) {odette.mobile[5:8]}-{odette.mobile[8:]}"
        log.write(f"planted call={spelled}\n")
    told.heard.urls.add(f"{sandbox.ports.url('app')}/j/x?for=M%C3%B8lleh%C3%B8jgaard")
    assert soren.family == "Møllehøjgaard"


@pytest.mark.parametrize("pack", ["utf-16-le", "utf-16-be", "percent", "zlib", "nested", "json"])
def test_the_search_sees_through(told: Told, pack: str) -> None:
    person = told.sandbox.world.hospitals["nordlys"].patients[3]
    plain = f"Dear {person.given}, call {person.mobile}"
    packed = {
        "utf-16-le": plain.encode("utf-16-le"),
        "utf-16-be": plain.encode("utf-16-be"),
        "percent": "".join(f"%{byte:02X}" for byte in plain.encode()).encode(),
        "zlib": b"\x00\x01" + zlib.compress(plain.encode()) + b"rest",
        "nested": b"k=" + base64.urlsafe_b64encode(gzip.compress(base64.b64encode(plain.encode()))),
        "json": json.dumps(plain).encode(),
    }[pack]
    assert leaks.Names(told.sandbox.world).found_in(packed) == {"soren given", "soren mobile"}


def test_no_secret_is_in_the_log(told: Told) -> None:
    told.tell_everything()
    log = told.sandbox.app_log.read_bytes()
    environment = told.sandbox.environment
    secrets = {value for value in told.heard.secrets if len(value) > 15}
    seen = {kind: 0 for kind in ("code", "access", "refresh")}
    with told.sandbox.world.lock:
        for value, grant in told.sandbox.world.grants.items():
            seen[grant.kind] = seen.get(grant.kind, 0) + 1
            secrets.add(value)
    assert len(told.heard.secrets) > 50 and seen["access"] > 5, "the secrets of the story were collected"
    for name, value in environment.items():
        if name.endswith(("SECRET", "_KEY")):
            secrets.add(value)
        elif name.endswith("_KEYS"):
            secrets |= {key.partition(":")[2] for key in value.split(",")} - {""}
    secrets |= set(told.sandbox.azurite.keys.values())
    assert len(log) > 10_000
    assert [value[:4] for value in secrets if value.encode() in log] == []
    assert _JWT.search(log) is None
