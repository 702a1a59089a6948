"""What operators and admins see: true counts, no person, and brakes and settings that work from page and API alike."""

import json
import re
from datetime import timedelta
from itertools import takewhile
from typing import Any

import pytest
from azure.storage.queue import QueueClient

from connector import logs, messages, tenants
from connector.messages import optouts
from connector.messages.status import watch
from connector.portal.api import OPERATIONS
from connector.portal.api.openapi import document
from connector.tenants import ConnectionPatch
from tests.messages.asking import admin_cookie, ask, functions, text_of
from tests.messages.conftest import ACTOR, Stage, hold


def now(stage: Stage) -> messages.MessageStatus:
    return messages.connection_status(stage.scope, stage.connection, stage.world.now())


def events(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    with monkeypatch.context() as patched:
        patched.setattr(logs, "event", lambda name, **fields: found.update({name: fields}))
        watch(stage.scope, stage.connection, stage.world.now())
    return found


def person(stage: Stage, index: int, **changed: Any) -> None:
    identity = stage.hospital.patients[index].patient_id
    stage.world.resources[stage.hospital.ehr_tenant]["Patient", identity].update(changed)


def test_counts_are_what_happened(stage: Stage) -> None:
    for patient in range(3):
        stage.book(patient)
    person(stage, 2, deceasedBoolean=True)
    stage.discover()
    stage.world.advance(timedelta(minutes=4))
    before = now(stage)
    assert (before.due, before.held, before.sent, before.queue_age_seconds // 60) == (3, 0, 0, 4)
    stage.deliver()
    after = now(stage)
    assert (after.due, after.sent, after.skipped, after.rules) == (0, 2, 1, {"deceased": 1})
    assert after.last_complete_scan and not after.baseline_pending and after.queue_age_seconds == 0
    stage.world.advance(timedelta(hours=25))
    assert now(stage).sent == 0


def test_what_is_held_is_no_late_queue(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.book()
    stage.discover()
    stage.world.advance(timedelta(minutes=20))
    assert events(stage, monkeypatch)["messages.alarm_late"]["due"] == 1
    hold(stage.scope, stage.connection, "confirmation", "held_volume", stage.world.now())
    seen = now(stage)
    assert (seen.due, seen.held, seen.queue_age_seconds) == (0, 1, 0)
    assert [(hold.kind, hold.rule) for hold in seen.holds] == [("confirmation", "held_volume")]
    alarms = events(stage, monkeypatch)
    assert "messages.alarm_late" not in alarms
    assert alarms["messages.alarm_held"]["rule"] == "held_volume" and alarms["messages.queue"]["held"] == 1
    stage.world.advance(timedelta(minutes=20))
    assert "messages.alarm_unscanned" in events(stage, monkeypatch)


def test_an_ehr_that_was_never_read_is_an_alarm(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "messages.alarm_unscanned" not in events(stage, monkeypatch)
    stage.world.advance(timedelta(minutes=36))
    assert events(stage, monkeypatch)["messages.alarm_unscanned"]["age_s"] >= 31 * 60
    assert now(stage).scan_overdue_seconds >= 31 * 60 and now(stage).last_complete_scan is None
    stage.discover()
    assert now(stage).scan_overdue_seconds == 0 and "messages.alarm_unscanned" not in events(stage, monkeypatch)


def test_forecast_counts_by_hour_kind_and_rule(staged: Any) -> None:
    stage = staged(reminders=True, reminder_leads_minutes=[15])
    for patient in range(3):
        stage.book(patient, in_minutes=300)
    stage.discover()
    hold(stage.scope, stage.connection, "confirmation", "held_volume", stage.world.now())
    found = messages.connection_forecast(stage.scope, stage.connection, stage.world.now())
    assert [(one.kind, one.rule, one.count) for one in found.entries] == [
        ("confirmation", "held_volume", 3),
        ("reminder", "due", 3),
    ]
    reminded = found.entries[1].hour
    assert timedelta(hours=3) < reminded - stage.world.now() < timedelta(hours=5) and found.total == 6


def test_nobody_is_named(stage: Stage) -> None:
    appointment = stage.book()
    stage.discover()
    shown = text_of(ask(stage, "portal_messages", headers=admin_cookie(stage), connection=stage.connection_id))
    shown += text_of(ask(stage, "api_messages_all"))
    who = stage.hospital.patients[0]
    assert not any(secret in shown for secret in (appointment, who.family, who.patient_id, who.mobile[2:]))


@pytest.mark.parametrize("function", ["api_messages_status", "api_messages_forecast", "api_messages_settings"])
def test_readers_may_read(stage: Stage, function: str) -> None:
    answer = ask(stage, function, role="Connector.Read", connection=stage.connection_id)
    assert answer.status_code == 200


@pytest.mark.parametrize("action", ["pause", "resume", "release"])
def test_readers_may_not_act(stage: Stage, action: str) -> None:
    name = f"api_messages_{action}"
    assert ask(stage, name, "POST", role="Connector.Read", connection=stage.connection_id).status_code == 403


def test_brakes_by_api(stage: Stage) -> None:
    one = {"connection": stage.connection_id}
    assert json.loads(text_of(ask(stage, "api_messages_pause", "POST", **one)))["paused"] is True
    assert json.loads(text_of(ask(stage, "api_messages_resume", "POST", **one)))["paused"] is False
    hold(stage.scope, stage.connection, "change", "held_volume", stage.world.now())
    assert (
        json.loads(text_of(ask(stage, "api_messages_release", "POST", body={"kind": "change"}, **one)))["holds"] == []
    )
    chosen = {"sender": stage.connection.sender_id or ""}
    ask(stage, "api_sender_pause", "POST", **chosen)
    assert now(stage).sender_paused
    ask(stage, "api_sender_resume", "POST", **chosen)
    assert not now(stage).sender_paused


def test_brakes_leave_who_and_why_in_the_history(stage: Stage) -> None:
    one, sender = {"connection": stage.connection_id}, stage.connection.sender_id or ""
    ask(stage, "api_messages_pause", "POST", body={"reason": "wrong texts"}, **one)
    ask(stage, "api_messages_resume", "POST", **one)
    ask(stage, "api_sender_pause", "POST", body={"reason": "carrier asks"}, sender=sender)
    ask(stage, "api_sender_resume", "POST", sender=sender)
    hold(stage.scope, stage.connection, "change", "held_volume", stage.world.now())
    ask(stage, "api_messages_release", "POST", body={"kind": "change", "reason": "migration"}, **one)
    ask(stage, "api_sender_opt_outs", "POST", body={"number": "+13125552348"}, sender=sender)
    changes = [
        (c.action, c.actor == ACTOR.object_id, c.target, {f.path: f.after for f in c.fields})
        for c in takewhile(lambda c: c.action != "connection.changed", tenants.history(stage.scope).items)
    ]
    *newest, first = changes
    assert newest == [
        ("optout.entered", True, sender, {"out": True, "contact": newest[0][3]["contact"], "via": "staff"}),
        ("messages.released", True, stage.connection_id, {"kind": "change", "reason": "migration"}),
        ("messages.held", False, stage.connection_id, {"kind": "change", "rule": "held_volume"}),
        ("sender.resumed", True, sender, {}),
        ("sender.paused", True, sender, {"reason": "carrier asks"}),
        ("messages.resumed", True, stage.connection_id, {}),
        ("messages.paused", True, stage.connection_id, {"reason": "wrong texts"}),
    ]
    assert first == ("messages.baseline_begun", False, stage.connection_id, {"department": "all"})
    assert not any(change.restorable for change in tenants.history(stage.scope, sender).items)
    assert "5552348" not in json.dumps(changes), "the number is a keyed hash"


def test_a_reason_is_short(stage: Stage) -> None:
    answer = ask(stage, "api_messages_pause", "POST", body={"reason": "x" * 201}, connection=stage.connection_id)
    assert answer.status_code == 422 and not now(stage).paused


def test_hints_in_a_poison_queue_are_an_alarm(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"send-{stage.hospital.region}-poison"
    with stage.queue("send") as queue:
        made = QueueClient(queue.url.rsplit("/", 1)[0], name, credential=queue.credential)
    watch_timer = functions(stage)["messages_watch"]
    found: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(logs, "event", lambda name, **fields: found.append((name, fields)))
    with made:
        made.create_queue()
        watch_timer(None)
        assert "queues.alarm_poisoned" not in dict(found)
        made.send_message("set aside by the host")
        watch_timer(None)
        made.delete_queue()
    assert dict(found)["queues.alarm_poisoned"] == {"queue": name, "count": 1}


def test_settings_by_api(stage: Stage) -> None:
    one = {"connection": stage.connection_id}
    read = ask(stage, "api_messages_settings", **one)
    wanted = json.loads(text_of(read)) | {"daily_cap": 3, "reminder_leads_minutes": [60]}
    etag = {"If-Match": read.headers["ETag"]}
    assert ask(stage, "api_messages_settings_set", "PUT", body=wanted, headers=etag, **one).status_code == 200
    assert stage.connection.messages.daily_cap == 3
    assert ask(stage, "api_messages_settings_set", "PUT", body=wanted, headers=etag, **one).status_code == 412
    wrong = ask(stage, "api_messages_settings_set", "PUT", body={"daily_cap": 0}, headers=etag, **one)
    assert wrong.status_code == 422 and "daily_cap" in json.loads(text_of(wrong))["errors"]


def form_of(page: str) -> dict[str, str]:
    """The fields of the settings form as a browser would send them unchanged."""
    part = page[page.index('#settings">') :]
    fields = {"do": "settings"}
    for tag in re.findall(r"<input[^>]*>", part):
        name, value = re.search(r'name="([^"]*)"', tag), re.search(r'value="([^"]*)"', tag)
        if name and ('type="checkbox"' not in tag or "checked" in tag):
            fields[name[1]] = value[1].replace("&#34;", '"').replace("&#39;", "'") if value else "on"
    return fields


def test_the_form_sends_back_what_it_shows_and_saves_what_is_changed(stage: Stage) -> None:
    one = {"connection": stage.connection_id, "headers": admin_cookie(stage)}
    before = stage.connection.messages
    fields = form_of(text_of(ask(stage, "portal_messages", **one)))
    assert ask(stage, "portal_messages", "POST", form=fields, **one).status_code == 303
    assert stage.connection.messages == before
    fields = form_of(text_of(ask(stage, "portal_messages", **one)))
    del fields["cancellations"]
    fields |= {"reminder_leads_minutes": "2880, 30", "quiet_from": "20:30", "excluded_0": "on"}
    fields["text_change"] = "{clinic}: new time {date} {time} {zone} {link}"
    assert ask(stage, "portal_messages", "POST", form=fields, **one).status_code == 303
    after = stage.connection.messages
    assert (after.cancellations, after.reminder_leads_minutes, after.quiet_from) == (False, [2880, 30], "20:30")
    assert after.excluded_departments == ["Family Medicine"] and "{link}" in after.texts["change"]
    shown = text_of(ask(stage, "portal_messages", **one))
    assert f"{stage.hospital.name}: new time " in shown and "1 part on the bill" in shown


def test_the_form_says_what_is_wrong_and_keeps_what_was_typed(stage: Stage) -> None:
    one = {"connection": stage.connection_id, "headers": admin_cookie(stage)}
    fields = form_of(text_of(ask(stage, "portal_messages", **one))) | {"daily_cap": "99", "text_change": "{patient}!"}
    answer = ask(stage, "portal_messages", "POST", form=fields, **one)
    shown = text_of(answer)
    assert answer.status_code == 422 and "must be at most 20" in shown and 'value="99"' in shown
    assert "{patient}!" in shown
    assert stage.connection.messages.daily_cap == 4
    present = tenants.connection(stage.scope, stage.connection_id)
    tenants.change_connection(stage.scope, stage.connection_id, present.etag, ConnectionPatch(name="Other"), ACTOR)
    del fields["text_change"]
    fields["daily_cap"] = "5"
    assert ask(stage, "portal_messages", "POST", form=fields, **one).status_code == 412


def test_each_wrong_entry_of_the_form_is_named_at_its_field(stage: Stage) -> None:
    one = {"connection": stage.connection_id, "headers": admin_cookie(stage)}
    sound, before = form_of(text_of(ask(stage, "portal_messages", **one))), stage.connection.messages
    wrong = {
        "reminder_leads_minutes": ["soon", "4", "10081", "1,2,3,4,5", "-15"],
        "daily_cap": ["", "0", "21", "1.5", "four"],
        "quiet_from": ["", "9:00", "24:00", "21:60"],
        "quiet_until": ["8"],
        "minor_age": ["0", "31", ""],
        "languages": ["", "english", "e"],
        "excluded_types": ["a_b", "x" * 65],
        "allowed_numbers": ["555-0100", "+0123456789", "+1720555014x"],
        "allowed_addresses": ["me", "a@b", "<a@example.org>"],
        "text_confirmation": ["{clinic!r} {date} {time} {zone} {link}", "{", "x" * 307],
        "text_cancellation": ["{patient}"],
    }
    for name, values in wrong.items():
        for value in values:
            answer = ask(stage, "portal_messages", "POST", form=sound | {name: value}, **one)
            page = text_of(answer)
            assert answer.status_code == 422 and f'id="f-{name}-wrong"' in page, f"{name}: {value}"
            assert stage.connection.messages == before
    answer = ask(stage, "portal_messages", "POST", form=sound | {"text_change": "{clinic} {date} {time}"}, **one)
    assert answer.status_code == 422 and "change: must hold {link}, {zone}" in text_of(answer)
    for channel in ("channel_sms", "channel_email"):
        sound.pop(channel, None)
    answer = ask(stage, "portal_messages", "POST", form=sound, **one)
    assert answer.status_code == 422 and 'id="f-channels-wrong"' in text_of(answer)
    nothing = ask(stage, "portal_messages", "POST", form={"do": "settings"}, **one)
    assert nothing.status_code == 422 and stage.connection.messages == before


def test_brakes_by_page(stage: Stage) -> None:
    one = {"connection": stage.connection_id, "headers": admin_cookie(stage)}
    for do, paused, by_sender in (
        ("pause", True, False), ("resume", False, False), ("pause_sender", False, True), ("resume_sender", False, False)
    ):  # fmt: skip
        posted = {"do": do, "reason": " why \n not " + "x" * 300}
        assert ask(stage, "portal_messages", "POST", form=posted, **one).status_code == 303
        assert (now(stage).paused, now(stage).sender_paused) == (paused, by_sender)
        (change,) = tenants.history(stage.scope, limit=1).items
        assert [one.after for one in change.fields] == ["why not " + "x" * 192] and change.actor == ACTOR.object_id
    hold(stage.scope, stage.connection, "all", "held_restored", stage.world.now())
    page = text_of(ask(stage, "portal_messages", **one))
    assert "Release and send" in page and "Forget what is due" in page
    ask(stage, "portal_messages", "POST", form={"do": "forget.all"}, **one)
    assert now(stage).holds == []
    assert ask(stage, "portal_messages", "POST", form={"do": "release.everything"}, **one).status_code == 400


def test_the_page_says_when_the_schedule_was_not_read(stage: Stage) -> None:
    one = {"connection": stage.connection_id}
    for hours, said in ((0, False), (3, True)):
        stage.discover()
        stage.forward(60 * hours)
        shown = text_of(ask(stage, "portal_messages", headers=admin_cookie(stage), **one))
        assert ("not read completely" in shown) is said


def test_staff_enter_a_stop_by_page(stage: Stage) -> None:
    one = {"connection": stage.connection_id, "headers": admin_cookie(stage)}
    number, sender = "+13125552348", stage.connection.sender_id or ""
    for do, out in (("stop", True), ("start", False)):
        for contact, by in (("312-555-2348", sender), (" M@Example.org", "email")):
            answer = ask(stage, "portal_messages", "POST", form={"do": do, "contact": contact}, **one)
            assert answer.status_code == 303 and contact not in answer.headers["Location"]
            asked = {number, "m@example.org"} - ({number} if by == "email" else {"m@example.org"})
            assert optouts.opted_out(stage.scope, by, asked) == (asked if out else set())
    wrong = ask(stage, "portal_messages", "POST", form={"do": "stop", "contact": "call <me>"}, **one)
    shown = text_of(wrong)
    assert wrong.status_code == 422 and "call &lt;me&gt;" in shown and "must look like +18005550100" in shown
    history = [(c.action, c.actor) for c in tenants.history(stage.scope, limit=4).items]
    assert history == [("optout.ended", ACTOR.object_id)] * 2 + [("optout.entered", ACTOR.object_id)] * 2


def test_texts_are_seen_before_they_are_saved(stage: Stage) -> None:
    one = {"connection": stage.connection_id, "headers": admin_cookie(stage)}
    fields = form_of(text_of(ask(stage, "portal_messages", **one)))
    own = {"text_change": "{clinic}: neue Zeit {date} {time} {zone} {link} \u2713", "do": "preview"}
    answer = ask(stage, "portal_messages", "POST", form=fields | own, **one)
    shown = text_of(answer)
    assert answer.status_code == 200 and f"{stage.hospital.name}: neue Zeit " in shown
    assert re.search("neue Zeit [^{]*As typed:[^{]* [23] parts on the bill", shown)
    assert "Nothing is saved yet" in shown and "neue Zeit {date}" in shown and stage.connection.messages.texts == {}
    wrong = ask(stage, "portal_messages", "POST", form=fields | own | {"text_change": "{oops}"}, **one)
    assert wrong.status_code == 422 and "{oops}" in text_of(wrong)
    saved = form_of(shown) | own | {"do": "settings"}
    assert ask(stage, "portal_messages", "POST", form=saved, **one).status_code == 303
    assert "neue Zeit" in stage.connection.messages.texts["change"]


def test_who_may_not_use_the_page(stage: Stage) -> None:
    one = {"connection": stage.connection_id}
    assert ask(stage, "portal_messages", **one).status_code == 303
    reader = admin_cookie(stage, admin=False)
    page = ask(stage, "portal_messages", headers=reader, **one)
    assert page.status_code == 200 and "Save settings" not in text_of(page)
    assert ask(stage, "portal_messages", "POST", form={"do": "pause"}, headers=reader, **one).status_code == 403
    foreign = admin_cookie(stage) | {"Sec-Fetch-Site": "cross-site"}
    assert ask(stage, "portal_messages", "POST", form={"do": "pause"}, headers=foreign, **one).status_code == 403
    assert not now(stage).paused


def test_the_api_describes_itself() -> None:
    described = document("https://visits.example", OPERATIONS)
    paths = described["paths"]
    assert {"get"} <= paths["/api/v1/connections/{connection}/messages/status"].keys()
    assert {"put"} <= paths["/api/v1/connections/{connection}/messages/settings"].keys()
    assert {"MessageStatus", "Forecast", "HoldRelease", "OptOutInput"} <= described["components"]["schemas"].keys()
