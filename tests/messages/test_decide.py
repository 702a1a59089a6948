"""The one decision: who gets a text, and by which rule somebody does not."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.ehr import Appointment, ContactPoint, Patient
from connector.messages.compare import Told
from connector.messages.decide import Case, Decision, Later, Send, Skip, decide
from connector.messages.phone import mobile_number
from connector.messages.schedule import quiet_period
from connector.tenants import Connection, Department, MessageSettings

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
START = NOW + timedelta(hours=3)
CONNECTION = Connection(
    id="aabcdefgh",
    name="Live",
    environment="production",
    fhir_base_url="https://fhir.example/r4/t",
    clinic_name="Harbor Valley Health",
    contact_phone="+13122346700",
    video_visit_types=["2581740933"],
    messages=MessageSettings(quiet_from="00:00", quiet_until="00:00"),
    departments=[Department(name="Family Medicine", location_ids=["21570461"], time_zone="America/Chicago")],
)
VISIT = Appointment(
    "51502301",
    "0",
    "booked",
    START,
    START + timedelta(minutes=30),
    ("13207741",),
    (),
    ("21570461",),
    ("2581740933",),
    has_virtual_room=False,
)


def phone(value: str, use: str | None = "mobile", rank: int | None = 1, **period: datetime) -> ContactPoint:
    return ContactPoint("phone", value, use, rank, period.get("begins"), period.get("ends"))


MIRA = Patient(
    "13207741",
    active=True,
    deceased=False,
    replaced_by=None,
    display_name="TESTONBY, MIRABELKA",
    birth_date=None,
    gender=None,
    medical_record_number=None,
    language="en",
    contacts=(phone("312-555-2348"),),
)
CASE = Case(VISIT, MIRA, START, lambda who: who == "13207741", lambda to: False, "https://visits.example/j/t0ken")


def rule_of(case: Case) -> str:
    decision = decide(CONNECTION, True, case, NOW)
    assert isinstance(decision, Skip)
    return decision.rule


def test_a_video_visit_is_told_with_time_and_link_and_without_names() -> None:
    decision = decide(CONNECTION, True, CASE, NOW)
    assert isinstance(decision, Send)
    assert decision.to == "+13125552348"
    assert "9:00 AM CST" in decision.text and "https://visits.example/j/t0ken " in decision.text
    assert "TESTONBY" not in decision.text.upper()


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"status": "cancelled"}, "cancelled"),
        ({"status": "noshow"}, "cancelled"),
        ({"start": NOW}, "past"),
        ({"start": None}, "past"),
        ({"status": "fulfilled"}, "not_booked"),
        ({"service_types": ("2581741010",)}, "not_video"),
        ({"location_ids": ("21583917",)}, "no_department"),
        ({"patient_ids": ()}, "no_patient"),
        ({"patient_ids": ("13207741", "13207852")}, "several_patients"),
        ({"patient_ids": ("13207852",)}, "moved_to_other_patient"),
    ],
)
def test_a_visit_that_changed_is_skipped_by_name(changes: dict[str, object], rule: str) -> None:
    assert rule_of(replace(CASE, appointment=replace(VISIT, **changes))) == rule  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"deceased": True}, "deceased"),
        ({"active": False}, "inactive"),
        ({"replaced_by": "13207852"}, "inactive"),
        ({"reminder_channels": frozenset({"email"})}, "prefers_other_channel"),
        ({"contacts": ()}, "no_mobile"),
    ],
)
def test_a_person_who_must_not_be_texted_is_not(changes: dict[str, object], rule: str) -> None:
    assert rule_of(replace(CASE, patient=replace(MIRA, **changes))) == rule  # type: ignore[arg-type]


def test_a_number_is_told_once() -> None:
    assert rule_of(replace(CASE, told_before=lambda to: to == "+13125552348")) == "told_before"


def test_a_virtual_room_alone_makes_a_video_visit() -> None:
    native = replace(VISIT, service_types=("2581740944",), has_virtual_room=True)
    assert isinstance(decide(CONNECTION, True, replace(CASE, appointment=native), NOW), Send)


def test_what_the_ehr_did_not_return_is_asked_again_until_the_start() -> None:
    missing = replace(CASE, appointment=None)
    assert isinstance(decide(CONNECTION, True, missing, NOW), Later)
    assert decide(CONNECTION, True, missing, START) == Skip("appointment_not_returned")
    nobody = replace(CASE, patient=None)
    assert isinstance(decide(CONNECTION, True, nobody, NOW), Later)


@pytest.mark.parametrize(
    ("contacts", "country", "expected"),
    [
        ([phone("3125552348")], "US", "+13125552348"),
        ([phone("+1 (312) 555-2348")], "DK", "+13125552348"),
        ([phone("20 48 13 57")], "DK", "+4520481357"),
        ([phone("0045 20 48 13 57")], "DK", "+4520481357"),
        ([phone("3125552348", rank=2), phone("3125557777", rank=1)], "US", "+13125557777"),
        ([phone("3125552348", rank=None), phone("3125557777", rank=3)], "US", "+13125557777"),
        ([phone("3129875521", ends=NOW), phone("3125552348", rank=2)], "US", "+13125552348"),
        ([phone("3129875521", begins=NOW + timedelta(days=1))], "US", None),
        ([phone("20481357", use="home"), phone("42718396")], "DK", "+4542718396"),
        ([phone("07400 123456", use="home")], "GB", "+447400123456"),
        ([phone("3122346781", use="home")], "US", None),
        ([phone("3125552348", use="old")], "US", None),
        ([phone("07400 123456", use="work")], "GB", None),
        ([phone("(555) silent")], "US", None),
        ([phone("1-312-CALLNOW")], "US", None),
        ([phone("3125552348 ext. 12")], "US", None),
        ([phone("5550100142")], "US", None),
        ([phone("8005550100")], "US", None),
        ([phone("3125552348")], None, None),
        ([phone("123"), phone("3125552348", rank=2)], "US", "+13125552348"),
        ([ContactPoint("email", "3125552348", "mobile", 1, None, None)], "US", None),
    ],
)
def test_only_a_valid_mobile_in_its_period(
    contacts: list[ContactPoint], country: str | None, expected: str | None
) -> None:
    assert mobile_number(contacts, country, NOW) == expected


def decided(case: Case = CASE, now: datetime = NOW, **settings: Any) -> Decision:
    messages = MessageSettings(**({"quiet_from": "00:00", "quiet_until": "00:00"} | settings))
    return decide(CONNECTION.model_copy(update={"messages": messages}), True, case, now)


def told(state: Any, start: datetime = START, n: int = 1, **changes: Any) -> Case:
    return replace(CASE, told=Told(start, state, n), **changes)


CANCELLED, IN_PERSON = replace(VISIT, status="cancelled"), replace(VISIT, service_types=())


@pytest.mark.parametrize(
    ("case", "rule"),
    [
        (CASE, "confirmation.new"),
        (told("live", START - timedelta(hours=1), kind="change"), "change.moved"),
        (told("live", n=0, kind="change"), "change.rebooked"),
        (told("cancelled", kind="change"), "change.reinstated"),
        (told("live", kind="cancellation", appointment=CANCELLED), "cancellation.cancelled"),
        (told("live", kind="cancellation", appointment=IN_PERSON), "cancellation.not_video"),
        (told("live", kind="reminder", lead=1440), "stale"),
        (told("live", kind="reminder", lead=15), "reminder.15"),
        (told("live", kind="reminder", lead=15, planned_start=NOW), "superseded"),
        (told("live", kind="reminder", lead=15, appointment=CANCELLED), "cancelled"),
        (told("live", kind="reminder", lead=30), "disabled_kind"),
        (told("live", kind="change"), "superseded"),
        (told("live", kind="cancellation"), "superseded"),
        (told("live"), "superseded"),
        (told("live", NOW, kind="cancellation", appointment=CANCELLED), "past"),
        (replace(CASE, held="paused"), "paused"),
        (replace(CASE, held="held_volume", appointment=None), "held_volume"),
    ],
)
def test_each_kind_passes_or_not_by_a_named_rule(case: Case, rule: str) -> None:
    decision = decided(case)
    assert decision.rule == rule
    assert isinstance(decision, Send) == ("." in rule)


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ({"confirmations": False}, "disabled_kind"),
        ({"excluded_departments": ["Family Medicine"]}, "excluded_department"),
        ({"excluded_types": ["2581740933"]}, "excluded_type"),
        ({"quiet_from": "05:00", "quiet_until": "08:30"}, "quiet_hours"),
        ({"minor_age": 30}, "minor"),
        ({"minor_age": 30, "include_minors": True}, "confirmation.new"),
    ],
)
def test_settings_decide(settings: dict[str, Any], rule: str) -> None:
    young = replace(CASE, patient=replace(MIRA, birth_date=date(2000, 1, 1)))
    assert decided(young, **settings).rule == rule


@pytest.mark.parametrize(("born", "minor"), [(date(2008, 11, 24), True), (date(2008, 11, 23), False)])
def test_a_minor_comes_of_age_on_the_birthday_in_the_departments_zone(born: date, minor: bool) -> None:
    case = replace(CASE, patient=replace(MIRA, birth_date=born))
    assert (decided(case).rule == "minor") == minor
    year = replace(case, patient=replace(case.patient, birth_date=None, born_by=born))  # type: ignore[type-var]
    assert (decided(year).rule == "minor") == minor, "whoever may be a minor counts as one"


def test_quiet_hours_let_changes_pass_and_never_a_reminder() -> None:
    night = {"quiet_from": "05:00", "quiet_until": "10:00"}
    assert decided(told("live", NOW, kind="change"), **night).rule == "change.moved"
    assert decided(told("live", kind="reminder", lead=240), reminder_leads_minutes=[240], **night) == Skip(
        "quiet_hours"
    )
    assert decided(CASE, **night).rule == "confirmation.new", "the visit is before the quiet hours end"


@given(
    moment=st.integers(0, 2 * 365 * 24 * 60).map(lambda minutes: NOW + timedelta(minutes=minutes)),
    ahead=st.integers(1, 3000),
    kind=st.sampled_from(["confirmation", "change", "cancellation", "reminder"]),
    zone=st.sampled_from(["America/Chicago", "Europe/Copenhagen", "Australia/Lord_Howe", "Asia/Kolkata"]),
    quiet=st.tuples(st.times(), st.times()),
)
def test_who_is_texted_in_quiet_hours(moment: datetime, ahead: int, kind: Any, zone: str, quiet: Any) -> None:
    """Who must know at once, or would otherwise know too late."""
    start = moment + timedelta(minutes=ahead)
    hours = {"quiet_from": f"{quiet[0]:%H:%M}", "quiet_until": f"{quiet[1]:%H:%M}", "reminder_leads_minutes": [3600]}
    settings = MessageSettings(**hours)
    clinic = CONNECTION.model_copy(update={
        "messages": settings, "departments": [CONNECTION.departments[0].model_copy(update={"time_zone": zone})],
    })  # fmt: skip
    known = {"confirmation": Told(), "change": Told(START + timedelta(days=900), "live", 1)}
    visit = replace(VISIT, start=start, status="cancelled" if kind == "cancellation" else "booked")
    mira = replace(MIRA, contacts=(phone("+13125552348"),))
    lead, told_before = 3600 if kind == "reminder" else 0, known.get(kind, Told(start, "live", 1))
    case = replace(CASE, appointment=visit, patient=mira, planned_start=start, kind=kind, lead=lead, told=told_before)
    decision, now_quiet = decide(clinic, True, case, moment), quiet_period(moment, zone, settings)
    if isinstance(decision, Send) and now_quiet:
        assert kind in ("change", "cancellation") or (kind == "confirmation" and start <= now_quiet[1])
    if isinstance(decision, Later):
        assert now_quiet and decision.due == now_quiet[1] < start, "and then it is sent"
    if not now_quiet and kind != "reminder":
        assert isinstance(decision, Send)


def test_a_test_connection_texts_nobody_but_its_list() -> None:
    test = CONNECTION.model_copy(update={"environment": "test"})
    assert decide(test, True, CASE, NOW) == Skip("not_allowed_number")
    listed = test.messages.model_copy(update={"allowed_numbers": ["+13125552348"]})
    assert isinstance(decide(test.model_copy(update={"messages": listed}), True, CASE, NOW), Send)
