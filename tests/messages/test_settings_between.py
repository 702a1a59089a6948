"""What an admin changes between plan and send counts when the message is sent."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from connector import clock
from connector.tenants import Department, MessageSettings, Sender
from tests.messages.lives import LOCATION, Clinic, NewClinic, utc

NOON = utc("2026-11-23T18:00")
"""In Chicago, a Monday."""


@pytest.fixture(autouse=True)
def _clock() -> Iterator[None]:
    yield
    clock.install(None)


def change(clinic: Clinic, **fields: Any) -> None:
    clinic.connection = clinic.connection.model_copy(update=fields)
    clinic.desk = replace(clinic.desk, connection=clinic.connection)


def settings(**wanted: Any) -> Callable[[Clinic], None]:
    return lambda clinic: change(clinic, messages=clinic.connection.messages.model_copy(update=wanted))


def zone(name: str, called: str = "Family Medicine") -> Callable[[Clinic], None]:
    places = [Department(name=called, location_ids=[LOCATION], time_zone=name)]
    return lambda clinic: change(clinic, departments=places)


def sender(clinic: Clinic) -> None:
    clinic.desk = replace(clinic.desk, sender=Sender(id="cd34", kind="alphanumeric", value="Harbor", label="Name"))


@pytest.mark.parametrize(
    ("changed", "words", "rule"),
    [
        (zone("America/Denver"), "3:00 PM MST", "confirmation.new"),
        (zone("Pacific/Pago_Pago"), "", "quiet_hours"),
        (zone("America/Chicago", "Renamed"), "4:00 PM CST", "confirmation.new"),
        (lambda clinic: change(clinic, departments=[]), "", "no_department"),
        (lambda clinic: change(clinic, clinic_name="Fjord"), "Fjord: video visit", "confirmation.new"),
        (lambda clinic: change(clinic, video_visit_types=[]), "", "not_video"),
        (lambda clinic: change(clinic, environment="test"), "", "not_allowed_number"),
        (settings(languages=["es"]), "visita por video", "confirmation.new"),
        (settings(confirmations=False), "", "disabled_kind"),
        (settings(excluded_departments=["Family Medicine"]), "", "excluded_department"),
        (settings(excluded_types=["2581740933"]), "", "excluded_type"),
        (settings(minor_age=60), "", "minor"),
        (settings(quiet_from="11:00", quiet_until="13:00"), "", "quiet_hours"),
        (settings(texts={"confirmation": "{clinic} {date} {time} {zone} {link} ours"}), " ours", "confirmation.new"),
        (settings(channels=["email"]), "", "prefers_other_channel"),
        (sender, "", "country_not_reached"),
    ],
)  # fmt: skip
def test_a_confirmation_is_sent_as_the_clinic_is_set_up_then(
    new_clinic: NewClinic, changed: Callable[[Clinic], None], words: str, rule: str
) -> None:
    clinic = new_clinic(NOON, reminders=False)
    clinic.book("51502301", NOON + timedelta(hours=4))
    clinic.scan()
    changed(clinic)
    texts = clinic.work()
    assert [words in sms.text for sms in texts] == ([True] if words else [])
    assert clinic.rules() == {rule}


def test_a_reminder_that_new_quiet_hours_forbid_is_not_sent_and_a_lead_that_is_gone_neither(
    new_clinic: NewClinic,
) -> None:
    clinic = new_clinic(NOON, confirmations=False, reminder_leads_minutes=[60, 30])
    clinic.book("51502301", NOON + timedelta(hours=4))
    clinic.scan()
    settings(quiet_from="14:30", quiet_until="17:00", reminder_leads_minutes=[60])(clinic)
    assert clinic.run(NOON + timedelta(hours=5), timedelta(minutes=10)) == []
    assert clinic.rules() == {"disabled_kind", "quiet_hours"}


def test_what_a_switch_held_back_is_told_when_it_is_on_again(new_clinic: NewClinic) -> None:
    clinic = new_clinic(NOON, reminders=False)
    clinic.book("51502301", NOON + timedelta(hours=4))
    clinic.scan()
    settings(confirmations=False)(clinic)
    assert clinic.work() == []
    change(clinic, messages=MessageSettings(reminders=False))
    clinic.scan()
    assert len(clinic.work()) == 1
