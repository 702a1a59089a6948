"""Invented lives of visits, thousands of them with `--hypothesis-profile=deep`: what is told, how often, and when."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from connector import clock
from connector.ehr import Appointment
from connector.messages import brakes, ledger, optouts, stops
from connector.messages.schedule import quiet_period
from connector.tenants import Actor
from tests.messages.lives import Clinic, NewClinic, Sent, lives, utc

NOON = utc("2026-11-23T18:00")
"""In Chicago, a Monday."""
ACTOR = Actor("0d4f7a91-6b2c-4e38-9f15-a7c3d8e20b61")


@pytest.fixture(autouse=True)
def _clock() -> Iterator[None]:
    yield
    clock.install(None)


Events = list[tuple[str, int]]
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("move"), st.sampled_from([-90, -30, 30, 60, 60 * 24, -60 * 24])),
        st.tuples(
            st.sampled_from(["cancel", "reinstate", "in_person", "video", "vanish", "return", "stop"]), st.just(0)
        ),
        st.tuples(st.just("scan"), st.just(0)),
        st.tuples(st.just("work"), st.just(0)),
        st.tuples(st.just("wait"), st.sampled_from([5, 20, 60, 300, 60 * 11])),
    ),
    max_size=14,
)


def live(clinic: Clinic, events: Events) -> int:
    """How many texts there were when the patient said STOP, or at the end."""
    gone: list[Appointment] = []
    stopped = None
    for what, value in events:
        if what == "wait":
            clinic.run(clinic.now + timedelta(minutes=value), timedelta(minutes=5 if value < 100 else 30))
        elif what == "stop":
            optouts.record(clinic.scope, "ab12", "+13125557741", out=True, via="link")
            stopped = len(clinic.sms.sent) if stopped is None else stopped
        elif what in ("scan", "work"):
            getattr(clinic, what)()
        elif what == "return" and gone:
            clinic.ehr.appointments["51502301"] = gone.pop()
        elif what != "return" and "51502301" in clinic.ehr.appointments:
            happen(clinic, what, value, gone)
    return len(clinic.sms.sent) if stopped is None else stopped


def happen(clinic: Clinic, what: str, minutes: int, gone: list[Appointment]) -> None:
    present = clinic.ehr.appointments["51502301"]
    if what == "vanish":
        gone.append(clinic.ehr.appointments.pop("51502301"))
    elif what == "move" and present.start:
        clinic.change("51502301", start=present.start + timedelta(minutes=minutes))
    elif what in ("cancel", "reinstate"):
        clinic.change("51502301", status="cancelled" if what == "cancel" else "booked")
    elif what in ("in_person", "video"):
        clinic.change("51502301", service_types=("2581740933",) if what == "video" else ("1",))


NORMAL = (NOON, "America/Chicago")
WHEN = st.sampled_from([
    NORMAL,
    (utc("2026-03-08T02:00"), "America/Chicago"),  # the evening before clocks go forward
    (utc("2026-11-01T02:00"), "America/Chicago"),  # and before they go back
    (utc("2026-10-03T12:00"), "Australia/Lord_Howe"),  # forward by half an hour
    (utc("2026-11-23T06:20"), "Asia/Kolkata"),
])  # fmt: skip
TWICE: Events = [("scan", 0), ("scan", 0)]
BOOKED: Events = [("scan", 0), ("work", 0)]


@example(NORMAL, 200, [*BOOKED, ("move", 30), ("scan", 0), ("move", -30)], ("00:00", "00:00"))
@example(NORMAL, 200, [*BOOKED, ("move", 30), ("scan", 0), ("move", 60)], ("00:00", "00:00"))
@example(NORMAL, 330, [*BOOKED, ("cancel", 0), ("scan", 0), ("scan", 0), ("reinstate", 0)], ("00:00", "00:00"))
@example(NORMAL, 45, [("wait", 5), ("move", 1440), ("scan", 0), ("move", -90), ("work", 0)], ("00:00", "00:00"))
@example(NORMAL, 330, [*BOOKED, *(("vanish", 0), *TWICE, ("return", 0), ("scan", 0))], ("00:00", "00:00"))
@example(NORMAL, 90, [*BOOKED, ("wait", 60), ("wait", 20)], ("12:00", "14:00"))
@example(NORMAL, 200, [*BOOKED, ("in_person", 0), ("wait", 60), ("video", 0), ("wait", 60)], ("12:00", "14:00"))
@lives(8, deep=400)
@given(
    when=WHEN,
    ahead=st.sampled_from([45, 90, 200, 330, 60 * 20, 60 * 26]),
    events=EVENTS,
    quiet=st.sampled_from([("21:00", "08:00"), ("12:00", "14:00"), ("00:00", "00:00")]),
)
def test_whatever_happens_to_a_visit(
    new_clinic: NewClinic, when: tuple[datetime, str], ahead: int, events: Events, quiet: tuple[str, str]
) -> None:
    begin, zone = when
    leads = [1440, 60, 15]
    clinic = new_clinic(begin, zone=zone, quiet_from=quiet[0], quiet_until=quiet[1], reminder_leads_minutes=leads)
    clinic.book("51502301", begin + timedelta(minutes=ahead))
    already = live(clinic, events)
    stopped = any(what == "stop" for what, _ in events)
    _check_kept_rules(clinic)
    _settle(clinic)
    _check_kept_rules(clinic)
    if stopped:
        assert clinic.sms.sent[already:] == []
        return
    rows = list(clinic.rows.values())
    row = next((r for r in rows if r.key.startswith("v.")), None)
    visit = clinic.ehr.appointments.get("51502301")
    if row is None or visit is None or visit.start is None or visit.start <= clinic.now:
        return
    on = visit.status == "booked" and visit.service_types == ("2581740933",)
    if on and quiet_period(clinic.now, zone, clinic.connection.messages) is None:
        assert row.text("told_class") == "live"
        assert datetime.fromisoformat(row.text("told_start")) == visit.start, "the patient knows the truth"
        ahead_15 = [r for r in rows if r.key.endswith("-15") and r.key.startswith("d.")]
        if quiet[0] == quiet[1] and visit.start - clinic.now > timedelta(minutes=20):
            assert [datetime.fromisoformat(r.text("start")) for r in ahead_15] == [visit.start], "reminded, once"
        asked = row.number("asked_n")
        _settle(clinic)
        (row,) = (r for r in clinic.rows.values() if r.key.startswith("v."))
        assert row.number("asked_n") == asked, "a world at rest plans nothing"
    if not on:
        passed = row.text("told_start") and datetime.fromisoformat(row.text("told_start")) <= clinic.now
        assert row.text("told_class") in ("", "cancelled") or passed


def _settle(clinic: Clinic) -> None:
    """Three sweeps with every window due."""
    for _ in range(3):
        clinic.forget_scans()
        clinic.now += timedelta(minutes=1)
        clinic.scan()
        clinic.work()


def _check_kept_rules(clinic: Clinic) -> None:
    stored = [row for (table, _, _), row in clinic.rows.items() if table == ledger.TABLE]
    rows = [row for row in stored if row.key.startswith("m.")]
    sent = [row for row in rows if row.text("state") == "sent"]
    assert len(sent) == len(clinic.sms.sent), "every text has one row, every sent row one text"
    assert len({row.key for row in rows}) == len(rows) and all(row.text("rule") for row in rows)
    due = [row.key.split(".", 2)[2] for row in stored if row.key.startswith("d.")]
    assert Counter(due) == Counter(row.key for row in rows if row.text("state") == "planned"), "planned is due, once"
    tellings = [key for key in due if ".reminder." not in key]
    assert len({key.split(".")[1] for key in tellings}) == len(tellings), "one telling at a time for each visit"
    for sms in clinic.sms.sent:
        if "remind" in sms.text:
            assert quiet_period(sms.at, clinic.zone, clinic.connection.messages) is None
    reminded = Counter((sms.to, sms.text) for sms in clinic.sms.sent if "remind" in sms.text)
    assert all(count <= 3 for count in reminded.values()), "never more than there are leads"


@lives(8, deep=60)
@given(moves=st.lists(st.sampled_from([0, 30, 60, 90]), min_size=1, max_size=5))
def test_each_told_difference_is_told_once(new_clinic: NewClinic, moves: list[int]) -> None:
    clinic = new_clinic(NOON, reminders=False)
    start = NOON + timedelta(hours=3)
    clinic.book("51502301", start)
    wanted, last = 1, 0
    clinic.scan()
    clinic.work()
    for minutes in moves:
        clinic.change("51502301", start=start + timedelta(minutes=minutes))
        clinic.scan()
        clinic.work()
        wanted, last = wanted + (minutes != last), minutes
    assert len(clinic.sms.sent) == wanted


@lives(6, deep=40)
@given(visits=st.lists(st.integers(0, 20), min_size=5, max_size=12), cap=st.integers(1, 4))
def test_the_daily_cap_holds(new_clinic: NewClinic, visits: list[int], cap: int) -> None:
    clinic = new_clinic(NOON, daily_cap=cap, reminder_leads_minutes=[90, 30], quiet_from="00:00", quiet_until="00:00")
    for n, quarter in enumerate(visits):
        clinic.book(f"5150{n:04d}", NOON + timedelta(minutes=60 + 14 * quarter))
    texts = clinic.run(NOON + timedelta(hours=7), timedelta(minutes=15))
    reminders = [sms for sms in texts if "remind" in sms.text]
    days = Counter(sms.at.astimezone(ZoneInfo("America/Chicago")).date() for sms in reminders)
    assert all(count <= cap for count in days.values())


@pytest.mark.parametrize(("apart", "later"), [(2, 0), (4, 0), (0, 5)])
def test_the_daily_cap_holds_for_visits_that_are_not_scanned_together(
    new_clinic: NewClinic, apart: int, later: int
) -> None:
    clinic = new_clinic(NOON, daily_cap=1, reminder_leads_minutes=[30], quiet_from="00:00", quiet_until="00:00")
    clinic.book("51500001", NOON + timedelta(hours=5))
    clinic.scan()
    clinic.run(NOON + timedelta(hours=later), timedelta(minutes=15))
    clinic.book("51500002", NOON + timedelta(hours=5 + apart + later), patient="13207742")
    clinic.book("51500003", NOON + timedelta(hours=5 + apart + later))
    clinic.all_due()
    clinic.scan()
    clinic.run(NOON + timedelta(hours=10), timedelta(minutes=15))
    reminded = Counter(sms.to for sms in clinic.sms.sent if "remind" in sms.text)
    assert reminded == {"+13125557741": 1, "+13125557742": 1}


def test_a_normal_life(new_clinic: NewClinic) -> None:
    clinic = new_clinic(NOON)
    clinic.book("51502301", NOON + timedelta(days=3))
    texts = clinic.run(NOON + timedelta(days=3, hours=1), timedelta(minutes=15))
    ahead = [NOON + timedelta(days=3) - sms.at for sms in texts]
    assert [round(one.total_seconds() / 60) for one in ahead[1:]] == [1440, 15]
    assert len(texts) == 3 and "13207741" not in clinic.stored() and "51502301" not in clinic.stored()


def test_missed_timers_and_a_clock_that_jumps(new_clinic: NewClinic) -> None:
    clinic = new_clinic(NOON)
    clinic.book("51502301", NOON + timedelta(hours=30))
    clinic.run(NOON + timedelta(hours=7), timedelta(minutes=30))
    clinic.now = NOON + timedelta(hours=29, minutes=58)
    clinic.scan()
    assert [sms.text.count("remind") for sms in clinic.work()] == [1], "the last one, not the one of the day before"
    clinic.now -= timedelta(hours=3)
    clinic.scan()
    assert clinic.work() == [], "a clock that is set back tells nothing again"


def test_nobody_is_told_of_what_was_booked_before_the_start(new_clinic: NewClinic) -> None:
    clinic = new_clinic(NOON)
    clinic.restore({})
    clinic.book("51502301", NOON + timedelta(hours=5))
    clinic.scan()
    assert clinic.work() == [] and "baseline" in clinic.rules()
    texts: list[Sent] = clinic.run(NOON + timedelta(hours=5))
    assert ["remind" in sms.text for sms in texts] == [True]


@example([("wait", 5)], [("move", 30), ("wait", 5), ("cancel", 0), ("wait", 20)])
@lives(5, deep=60)
@given(before=EVENTS, after=EVENTS)
def test_after_a_restore_nothing_is_told_again(new_clinic: NewClinic, before: Events, after: Events) -> None:
    clinic = new_clinic(NOON, reminder_leads_minutes=[1440, 60, 15])
    clinic.book("51502301", NOON + timedelta(hours=26))
    live(clinic, before)
    backup = clinic.rows
    clinic.now += timedelta(minutes=1)
    live(clinic, after)
    clinic.now += timedelta(minutes=11)
    _settle(clinic)
    texts = Counter(sms.text for sms in clinic.sms.sent)
    sent = len(clinic.sms.sent)
    clinic.restore(backup)
    _settle(clinic)
    assert len(clinic.sms.sent) == sent, "held"
    stops.release(clinic.scope, clinic.connection, "all", clinic.now, ACTOR)
    _settle(clinic)
    new = [sms.text for sms in clinic.sms.sent[sent:]]
    assert all("remind" in text and text not in texts for text in new), "only reminders that came due meanwhile"


def test_a_long_pause_with_the_switch_off_is_a_new_baseline(new_clinic: NewClinic) -> None:
    clinic = new_clinic(NOON)
    clinic.book("51502301", NOON + timedelta(hours=5))
    clinic.scan()
    clinic.work()
    clinic.now += timedelta(minutes=5)
    brakes.note_off(clinic.scope, clinic.connection, clinic.now)
    clinic.change("51502301", start=NOON + timedelta(hours=4))
    clinic.book("51502308", NOON + timedelta(hours=3))
    clinic.now += timedelta(minutes=5)
    clinic.scan()
    assert clinic.work() == []
    clinic.change("51502301", start=NOON + timedelta(hours=5))
    clinic.now += timedelta(minutes=5)
    clinic.scan()
    assert ["moved to" in sms.text for sms in clinic.work()] == [True]


def test_a_full_claim_fits_one_property(new_clinic: NewClinic, monkeypatch: pytest.MonkeyPatch) -> None:
    clinic = new_clinic(NOON)
    for n in range(49):
        clinic.book(f"5150{n:04d}", NOON + timedelta(hours=5), f"1320{n:04d}")
    clinic.scan()
    claims: list[int] = []
    transact = clinic.tables.transact

    def noted(table: str, writes: Any) -> None:
        claims.extend(len(write.row.text("items")) for write in writes if write.row.key.startswith("k."))
        return transact(table, writes)

    monkeypatch.setattr(clinic.tables, "transact", noted)
    assert len(clinic.work()) == 49
    assert 0 < max(claims) < 32_768, "characters in one property (Table service data model)"
