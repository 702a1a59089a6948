"""A lost link: everybody gets one answer, and only the contact in the record gets the link."""

import json
import re
from collections.abc import Callable
from contextlib import suppress
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import azure.functions as func
import pytest
from azure.core.exceptions import ResourceNotFoundError

from connector import flood, keys, messages
from connector.adapters import tables
from connector.messages import limits
from sandbox.cerner import appointments
from tests.messages.asking import SAME_ORIGIN
from tests.messages.conftest import Stage

MIRA, STRANGER = "(312) 555-2348", "+13125550143"


@pytest.fixture(autouse=True)
def one_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """In which all that is asked is asked."""
    monkeypatch.setattr(flood, "time", SimpleNamespace(monotonic=lambda: 60.0))
    flood._asked.clear()


@pytest.fixture
def stage(staged: Callable[..., Stage]) -> Stage:
    made = staged(channels=["sms", "email"])
    with suppress(ResourceNotFoundError):
        while made.hints("lost"):  # of another test's tenant
            pass
    return made


def call(stage: Stage, function: str, request: Any) -> Any:
    made = func.FunctionApp()
    made.register_functions(messages.lost_link_blueprint(lambda: stage.services, [stage.scope.region]))
    return {str(f.get_function_name()): f.get_user_function() for f in made.get_functions()}[function](request)


def ask(stage: Stage, contact: str, query: str = "", headers: dict[str, str] = SAME_ORIGIN) -> func.HttpResponse:
    body = urlencode({"contact": contact}).encode()
    request = func.HttpRequest("POST", f"https://visits.example/j{query}", headers=headers, body=body)
    answer: func.HttpResponse = call(stage, "lost_link", request)
    return answer


def hint(stage: Stage) -> dict[str, Any]:
    (only,) = stage.hints("lost")
    found: dict[str, Any] = json.loads(only)
    return found


def work(stage: Stage, given: dict[str, Any]) -> None:
    call(stage, f"lost_link_{stage.scope.region}", func.QueueMessage(id="1", body=json.dumps(given).encode()))


def told(stage: Stage, patient: int = 0, in_minutes: int = 300) -> str:
    """A visit whose patient got its confirmation."""
    appointment = stage.book(patient, in_minutes=in_minutes)
    stage.discover()
    stage.deliver()
    stage.outbox.clear()
    stage.world.mail.clear()
    return appointment


def test_the_link_comes_again_to_who_was_told_however_the_number_is_typed(stage: Stage) -> None:
    appointment = told(stage)
    for typed in (MIRA, "312-555-2348", "+13125552348"):
        assert ask(stage, typed).status_code == 200
        given = hint(stage)
        assert len(given["visits"]) == 32
    work(stage, given)
    (sent,) = stage.outbox
    assert sent.to == "+13125552348"
    link = re.findall(r"/j/([\w-]+)", sent.text)[0]
    assert keys.JoinToken.open(link, stage.services.sealer).appointment_id == appointment


def test_what_is_typed_is_only_compared_never_sent_to(stage: Stage) -> None:
    told(stage)
    asked = ask(stage, MIRA)
    given = hint(stage)
    record = stage.world.resources[stage.hospital.ehr_tenant]["Patient", stage.hospital.patients[0].patient_id]
    kept = [dict(point) for point in record["telecom"]]
    try:
        for point in record["telecom"]:
            if point.get("value") and "2348" in point["value"]:
                point["value"] = "+13125559876"
        work(stage, given)
    finally:
        record["telecom"] = kept
    assert asked.status_code == 200 and [m.to for m in stage.outbox] == ["+13125559876"]


def test_every_contact_of_the_record_finds_the_visit_and_the_first_of_its_kind_gets_the_link(stage: Stage) -> None:
    record = stage.world.resources[stage.hospital.ehr_tenant]["Patient", stage.hospital.patients[0].patient_id]
    kept = record["telecom"]
    record["telecom"] = [*kept, {"system": "phone", "use": "mobile", "rank": 9, "value": "+13125550188"}]
    try:
        told(stage)  # by a text to the first number
        for typed in ("Mirabelka.T84@patientmail.example", "312 555 0188"):
            ask(stage, typed)
            work(stage, hint(stage))
    finally:
        record["telecom"] = kept
    assert [mail.to for mail in stage.world.mail] == ["mirabelka.t84@patientmail.example"]
    assert [text.to for text in stage.outbox] == ["+13125552348"]


def test_nobody_learns_from_the_answer_who_is_known(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    told(stage)
    ask(stage, STRANGER)  # the first of a process also reads keys
    stage.hints("lost")
    operations: list[str] = []
    real = tables.Tables._run
    monkeypatch.setattr(tables.Tables, "_run", lambda self, table, w: operations.append(table) or real(self, table, w))
    seen = []
    for contact in (MIRA, STRANGER):
        operations.clear()
        answer = ask(stage, contact)
        seen.append((answer.status_code, answer.get_body(), tuple(operations), len(given := hint(stage))))
        assert not re.search("2348|0143|patientmail", json.dumps(given))
    assert seen[0] == seen[1]
    assert len(seen[0][2]) == 1  # one read of the visits ahead


def test_an_unknown_contact_or_a_visit_that_is_gone_sends_nothing(stage: Stage) -> None:
    appointment = told(stage)
    for contact in (STRANGER, "nobody@else.example", "rquintaval57@patientmail.example"):
        ask(stage, contact)
        work(stage, hint(stage))
    ask(stage, MIRA)
    given = hint(stage)
    appointments.cancel(stage.world, stage.hospital.key, appointment)
    work(stage, given)
    work(stage, given | {"visits": "0" * 32})
    assert stage.outbox == [] and stage.world.mail == []


def test_what_is_neither_number_nor_address_is_said_at_once(stage: Stage) -> None:
    for typed in ("", "x", "123", "mira", "a@b", "312555" * 60, "<script>", "+1800555010\x00"):
        answer = ask(stage, typed)
        assert answer.status_code == 422 and b"This is not a mobile number" in answer.get_body(), typed
    with suppress(ResourceNotFoundError):
        assert stage.hints("lost") == []


def test_asking_again_and_again_stops(stage: Stage) -> None:
    told(stage)
    assert [ask(stage, MIRA).status_code for _ in range(4)] == [200, 200, 200, 429]
    for given in stage.hints("lost"):
        work(stage, json.loads(given))
    assert len(stage.outbox) == 1  # the same within a minute is one sending
    flood._asked.clear()
    answers = {ask(stage, f"+1312555{n:04d}").status_code for n in range(100, 175)}
    assert answers == {200, 429}


def test_whoever_asks_for_lost_links_leaves_room_for_what_is_planned(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PER_STRANGER", 1)
    told(stage), told(stage, in_minutes=70)
    ask(stage, MIRA)
    given = hint(stage)
    assert len(given["visits"].split()) == 2
    work(stage, given)
    assert len(stage.outbox) == 1
    stage.book(in_minutes=90)
    stage.discover()
    stage.deliver()
    assert len(stage.outbox) == 2, "a confirmation, as planned"


def test_only_our_own_page_asks_and_only_for_a_clinic_of_ours(stage: Stage) -> None:
    assert ask(stage, MIRA, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    for query in ("?clinic=azzzzzzzz", "?clinic=../x", f"?clinic={stage.connection_id}x"):
        assert b"from the web site of your clinic" in ask(stage, MIRA, query).get_body()
    named = ask(stage, STRANGER, f"?clinic={stage.connection_id}")
    assert stage.hospital.contact_phone.encode() in named.get_body()
    assert len(stage.hints("lost")) == 1
