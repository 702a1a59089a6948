"""This version takes over in the middle of an earlier one's story: nothing is lost, nothing is told twice.

`5cf5e57/` is what that version left (record.py): rows, hints that nobody had taken, the hospital's EHR, and what was on
the patients' phones. Five visits had been told of; then one was moved and one cancelled, one patient said STOP and was
moved as well, one visit had its meeting; three more were planned, of which two were on the queue and one had been taken
by Communication Services when its worker died.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import azure.functions as func
import pytest
from azure.core.exceptions import ResourceExistsError

from connector import bootstrap, clock, keys, launch, messages, tenants
from connector.adapters.tables import Row, Write
from connector.ehr import EhrUser
from connector.messages import brakes
from connector.operations import backup
from connector.regions import Region
from connector.visits import meeting, visit_key
from sandbox.azurite import Azurite
from sandbox.cerner import appointments
from sandbox.world import World
from tests.messages.conftest import Stage, stamp_settings

VERSIONS = sorted(path for path in Path(__file__).parent.iterdir() if (path / "story.json").exists())
HOSPITAL, REGION = "harbor", Region.AMERICAS


@pytest.fixture(params=VERSIONS, ids=lambda path: path.name)
def left(request: pytest.FixtureRequest, vendors: World) -> dict[str, Any]:
    """The story's end, with the addresses of this run's vendors."""
    story: dict[str, Any] = json.loads(here((request.param / "story.json").read_text("utf-8"), vendors))
    return story | {"folder": request.param}


def here(text: str, world: World) -> str:
    for name, port in asdict(world.ports).items():
        text = text.replace(f"{name}.vendor", f"127.0.0.1:{port}")
    return text


def of_a_later_version(row: Row) -> Row:
    """With a column, and fields of the configuration, that only a later version knows: it was tried and taken back."""
    values = {**row.values, "later": "x"}
    if body := row.text("body"):
        value = json.loads(body)
        for part in (value, value.get("messages", {}), *value.get("departments", [])):
            part["later"] = {"x": 1}
        values["body"] = json.dumps(value)
    return Row(row.partition, row.key, values)


@pytest.fixture(params=[pytest.param(False, id="upgraded"), pytest.param(True, id="and back from a later one")])
def stage(
    request: pytest.FixtureRequest, left: dict[str, Any], vendors: World, published: list[dict[str, Any]],
    tmp_path: Path,
) -> Iterator[Stage]:
    """This version's workers on those rows, at that hour."""
    vendors.reset()
    appointments.populate(vendors)
    vendors.sms_per_minute = dict.fromkeys(vendors.sms_per_minute, 10_000)
    vendors.advance(datetime.fromisoformat(left["now"]) - vendors.now())
    clock.install(vendors.now)
    hospital = vendors.hospitals[HOSPITAL]
    kept = vendors.resources[hospital.ehr_tenant]
    kept.clear()
    kept.update({(kind, identity): record for kind, identity, record in left["resources"]})
    with Azurite(tmp_path / "azurite") as storage:
        services = bootstrap.build(stamp_settings(vendors, storage, left["tenant"], **left["keys"]))
        published.append(services.ehr.public_jwks())
        tables = services.storage.tables[REGION]
        for file in sorted(left["folder"].glob("*.jsonl")):
            tables.create(file.stem)
            (tmp_path / file.name).write_text(here(file.read_text("utf-8"), vendors), "utf-8")
            for row in backup.read(tmp_path / file.name):
                tables.transact(file.stem, [Write("insert", of_a_later_version(row) if request.param else row)])
        brakes._epochs.clear()  # a new process
        made = func.FunctionApp()
        made.register_functions(messages.blueprint(lambda: services, [REGION]))
        functions = {str(f.get_function_name()): f.get_user_function() for f in made.get_functions()}
        scope = services.directory.scope(left["tenant"])
        stage = Stage(vendors, hospital, services, scope, left["names"]["connection"], functions,
                      storage.connection_string(REGION))
        for name in ("discover", "send"):
            with suppress(ResourceExistsError), stage.queue(name) as queue:
                queue.create_queue()
        yield stage
    clock.install(None)


def test_nothing_is_lost_and_nothing_doubled(left: dict[str, Any], stage: Stage) -> None:
    names = left["names"]
    for function in ("discover", "send"):  # what was in flight
        for hint in left["hints"][function]:
            stage.run(function, hint)
    for _ in range(4):
        stage.forward(6)
        stage.forget_scans()
        stage.discover()
        stage.deliver()
        stage.functions["messages_sweep"](None)

    numbers = {person.key: person.mobile for person in stage.hospital.patients}
    told = Counter(message.to for message in stage.outbox)
    assert told == Counter([numbers["odette"], numbers["odette"], numbers["rafael"], numbers["hollis"]])
    states: dict[str, dict[str, str]] = defaultdict(dict)
    for row in stage.rows("m"):
        _, visit, _, kind, number = str(row["key"]).split(".")
        if kind != "reminder":
            states[visit][f"{kind}.{number}"] = f"{row['state']}/{row['rule']}" if row["rule"] else str(row["state"])
    seen = {name: states[visit_key(stage.scope, stage.connection_id, names[name])] for name in EXPECTED}
    assert seen == EXPECTED
    planned = {str(row["key"]).partition(".m.")[2] for row in stage.rows("d")}
    assert {key.split(".")[2] for key in planned} == {"reminder"}
    assert {key.split(".")[0] for key in planned} == {
        visit_key(stage.scope, stage.connection_id, names[name])
        for name in ("kept", "moved", "met", "stopped", "crashed", "released", "released too")
    }


EXPECTED = {
    "kept": {"confirmation.1": "sent/confirmation.new"},
    "moved": {"confirmation.1": "sent/confirmation.new", "change.2": "sent/change.moved"},
    "cancelled": {"confirmation.1": "sent/confirmation.new", "cancellation.2": "sent/cancellation.cancelled"},
    "stopped": {"confirmation.1": "sent/confirmation.new", "change.2": "skipped/opted_out"},
    "met": {"confirmation.1": "sent/confirmation.new"},
    "crashed": {"confirmation.1": "uncertain/window_over"},
    "released": {"confirmation.1": "sent/confirmation.new"},
    "released too": {"confirmation.1": "sent/confirmation.new"},
}


def test_links_meetings_and_accounts_are_what_they_were(left: dict[str, Any], stage: Stage) -> None:
    names = left["names"]
    assert keys.JoinToken.open(names["token"], stage.services.sealer).appointment_id == names["kept"]
    visit = visit_key(stage.scope, stage.connection_id, names["met"])
    made = meeting.stored(stage.services, stage.scope, stage.connection, visit)
    assert made is not None
    assert urlsplit(made.join_web_url).path == urlsplit(names["join"]).path
    user = EhrUser(names["issuer"], names["fhir_user"])
    link = launch.find_link(stage.scope, stage.connection_id, user)
    assert link is not None
    assert link.object_id == names["oid"]
    assert [one.value.id for one in tenants.connections(stage.scope)].count(stage.connection_id) == 1
    assert stage.connection.may_send
    assert len(tenants.senders(stage.scope)) == 1
