"""STOP holds: per sender, for the right person only, whatever is rotated, purged or restored."""

import base64
import json
import re
import secrets
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from connector import bootstrap, flood, keys, tenants
from connector.errors import RefusedError
from connector.messages import optouts
from connector.settings import Key
from connector.visits.retention import purge_visits
from sandbox import event_grid
from tests.messages.asking import SAME_ORIGIN, ask, bring, text_of
from tests.messages.conftest import Stage

MIRA, RAFAEL = "+13125552348", "+13127714063"


def sender(stage: Stage) -> str:
    return stage.connection.sender_id or ""


def out(stage: Stage, *numbers: str) -> frozenset[str]:
    return optouts.opted_out(stage.scope, sender(stage), numbers or (MIRA, RAFAEL))


def token(stage: Stage, appointment: str) -> str:
    return keys.JoinToken(stage.connection_id, appointment).seal(stage.services.sealer)


def press(stage: Stage, appointment: str, do: str = "stop", **headers: str) -> int:
    given = token(stage, appointment)
    answer = ask(stage, "patient_stop", "POST", form={"do": do}, headers=headers or SAME_ORIGIN, token=given)
    return int(answer.status_code)


def test_a_number_that_said_stop_is_found_in_one_operation_a_chunk(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    optouts.record(stage.scope, sender(stage), MIRA, out=True, via="staff")
    chunk = [MIRA, *(f"+1312771{n:04d}" for n in range(48))]
    assert out(stage, *chunk) == {MIRA}
    asked: list[str] = []
    chosen = sender(stage)
    run = stage.scope.tables._run
    monkeypatch.setattr(stage.scope.tables, "_run", lambda *given: (asked.append(given[0]), run(*given))[1])
    assert optouts.opted_out(stage.scope, chosen, chunk) == {MIRA}
    assert asked == ["OptOuts"]


@pytest.mark.parametrize("query", ["", "e=x"])
def test_a_link_that_is_used_too_often_asks_nobody(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    """Each stop or start reads the EHR, may ask the carrier, and lets every worker read the list again."""
    asked: list[str] = []

    def flooded(what: str) -> None:
        asked.append(what)
        raise RefusedError("visit.too_many", "x", status=429)

    monkeypatch.setattr(flood, "reserve", flooded)
    given = token(stage, "77001")
    for function, method in (("patient_stop_page", "GET"), ("patient_stop", "POST")):
        form = {"do": "start"} if method == "POST" else None
        answer = ask(stage, function, method, form=form, query=query, headers=SAME_ORIGIN, token=given)
        assert answer.status_code == 429
    assert set(asked) == {f"{stage.connection_id}.77001"}, "counted with what else is asked through the link"


def test_stop_and_start_are_per_sender(stage: Stage) -> None:
    optouts.record(stage.scope, "ab12cd34", MIRA, out=True, via="staff")
    assert out(stage) == frozenset()
    for stopped in (True, True, False, False, True):
        optouts.record(stage.scope, sender(stage), MIRA, out=stopped, via="link")
        assert out(stage) == ({MIRA} if stopped else frozenset())


def test_no_number_is_stored(stage: Stage) -> None:
    optouts.record(stage.scope, sender(stage), MIRA, out=True, via="link")
    rows = list(stage.scope.tables.query("OptOuts", f"{stage.scope.tenant_id}.{sender(stage)}"))
    assert len(rows) == 2 and not re.search(
        "312.?555", json.dumps([[r.key, dict(r.values)] for r in rows], default=str)
    )


def test_each_stop_and_start_is_in_the_history_once(stage: Stage) -> None:
    told: list[tuple[bool, Any, str]] = [
        (False, "link", ""), (True, "link", "patient"), (True, "reply", ""), (False, "reply", "patient"),
        (True, "carrier", "carrier"), (True, "link", ""), (False, "link", "patient"),
    ]  # fmt: skip
    for stopped, via, _ in told:
        optouts.record(stage.scope, sender(stage), MIRA, out=stopped, via=via)
    optouts.record_token(stage.scope, stage.services.sealer, optouts.stop_token(
        stage.scope, stage.services.sealer, "m@example.org"), out=True)  # fmt: skip
    (by_mail,) = tenants.history(stage.scope, optouts.EMAIL).items
    changes = [c for c in tenants.history(stage.scope, sender(stage)).items if c.action.startswith("optout.")]
    noted = [(c.action, c.actor, {f.path: f.after for f in c.fields}) for c in (by_mail, *changes)]
    assert [(what == "optout.entered", after["via"], who) for what, who, after in noted] == [
        (True, "link", "patient"), *(one for one in reversed(told) if one[2])]
    assert len({after["contact"] for *_, after in noted}) == 2 and "5552348" not in json.dumps(noted)


def test_stop_outlives_new_keys_purge_and_a_new_process(stage: Stage) -> None:
    optouts.record(stage.scope, sender(stage), MIRA, out=True, via="link")

    def newer(old: tuple[Key, ...], name: str) -> tuple[Key, ...]:
        return Key(name, secrets.token_bytes(32)), *old

    rotated = replace(
        stage.services.settings,
        sealing_keys=newer((), "s9"),
        wrapping_keys=newer(stage.services.settings.wrapping_keys, "w9"),
    )
    purge_visits(stage.scope, stage.connection_id)
    optouts._known.clear()
    scope = bootstrap.build(rotated).directory.scope(stage.scope.tenant_id)
    assert optouts.opted_out(scope, sender(stage), [MIRA, RAFAEL]) == {MIRA}


def test_the_link_asks_and_the_button_stops_only_its_patient(stage: Stage) -> None:
    stopped, other = stage.book(0), stage.book(1)
    stage.discover()
    before = dict(stage.world.requests)
    page = text_of(ask(stage, "patient_stop_page", token=token(stage, stopped)))
    assert stage.hospital.name in page and 'id="stop"' in page and dict(stage.world.requests) == before
    assert not re.search("555|Testonby|Mirabelka", page), "whoever has the link learns nothing"
    assert press(stage, stopped) == 200
    assert out(stage) == {MIRA}
    stage.deliver()
    assert [m.to for m in stage.outbox] == [RAFAEL]
    assert {row["rule"] for row in stage.rows("m") if row["state"] == "skipped"} == {"opted_out"}
    assert press(stage, stopped, "start") == 200
    assert out(stage) == frozenset()
    assert press(stage, other) == 200 and out(stage) == {RAFAEL}


def test_a_message_on_its_way_is_stopped_too(stage: Stage) -> None:
    appointment = stage.book()
    stage.discover()
    (hint,) = stage.dispatch()
    press(stage, appointment)
    stage.run("send", hint)
    assert stage.outbox == []


def test_who_may_not_stop(stage: Stage) -> None:
    appointment = stage.book()
    assert press(stage, appointment, **{"Sec-Fetch-Site": "cross-site"}) == 403
    forged = ask(stage, "patient_stop_page", token="a" + base64.urlsafe_b64encode(b"x" * 40).decode())
    assert forged.status_code == 404
    assert press(stage, "99999999") == 404
    stage.world.add_fault("cerner", "500", 9)
    assert press(stage, appointment) == 503
    assert out(stage) == frozenset()


@pytest.mark.parametrize("number", [MIRA, "312-555-2348", " +1 (312) 555-2348 "])
def test_staff_enter_a_number_that_is_not_shown_again(stage: Stage, number: str) -> None:
    answer = ask(stage, "api_sender_opt_outs", "POST", body={"number": number}, sender=sender(stage))
    assert answer.status_code == 201 and json.loads(text_of(answer)) == {"sender_id": sender(stage), "out": True}
    assert out(stage) == {MIRA}
    ask(stage, "api_sender_opt_outs", "POST", body={"number": number, "out": False}, sender=sender(stage))
    assert out(stage) == frozenset()


@pytest.mark.parametrize(
    ("body", "role", "status"),
    [
        ({"number": "call me"}, "Connector.Configure", 422),
        ({}, "Connector.Configure", 422),
        ({"number": MIRA}, "Connector.Read", 403),
    ],
)
def test_staff_entries_that_are_refused(stage: Stage, body: dict[str, Any], role: str, status: int) -> None:
    answer = ask(stage, "api_sender_opt_outs", "POST", body=body, role=role, sender=sender(stage))
    assert answer.status_code == status and "312" not in text_of(answer)


def test_another_tenants_sender_is_unknown(staged: Callable[..., Stage]) -> None:
    first, second = staged(), staged()
    answer = ask(second, "api_sender_opt_outs", "POST", body={"number": MIRA}, sender=sender(first))
    assert answer.status_code == 404
    with pytest.raises(RefusedError):
        tenants.connection(second.scope, first.connection_id)


@pytest.mark.parametrize("words", ["STOP", "stop", " Unsubscribe. ", "QUIT"])
def test_a_reply_stops_and_starts_its_sender(stage: Stage, words: str) -> None:
    def reply(message: str) -> None:
        numbers = [number.removeprefix("+") for number in (MIRA, stage.hospital.sender_value)]
        bring(stage, event_grid.reply(*numbers, message, stage.world.now()))

    for message, stopped in ((words, {MIRA}), ("stop it please", {MIRA}), ("Start", set())):
        reply(message)
        assert out(stage) == stopped


def test_stop_while_a_backup_is_restored(stage: Stage) -> None:
    """The table is apart from the messages': their restore does not touch it."""
    stage.book()
    stage.discover()
    backup = list(stage.scope.tables.query("Visits", stage.connection_id))
    stage.world.advance(timedelta(minutes=20))
    optouts.record(stage.scope, sender(stage), MIRA, out=True, via="link")
    for row in backup:
        stage.scope.tables.transact("Visits", [tenants_write(row)])
    assert out(stage) == {MIRA}


def tenants_write(row: Any) -> Any:
    from connector.adapters.tables import Write

    return Write("upsert", row)
