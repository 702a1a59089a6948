"""Each wrong field has a message that a person understands, and no message repeats what was typed."""

import json
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from connector.errors import RefusedError, Text
from connector.tenants import Actor, ConnectionInput, ConnectionPatch, Department, SenderInput, set_departments
from connector.tenants.validation import faults
from sandbox.azurite import Azurite
from tests.tenants.stamp import connected, pinned, wanted

TYPED = "hunter2"
GOOD = json.loads(wanted().model_dump_json())


@pytest.mark.parametrize(("changes", "path", "said"), [
    ({"name": " "}, "name", "must not be empty"),
    ({"name": TYPED * 20}, "name", "must have at most 80 characters"),
    ({"name": 7}, "name", "must be text"),
    ({"environment": TYPED}, "environment", "must be one of: test, production"),
    ({"fhir_base_url": f"ftp://{TYPED}.example/r4"}, "fhir_base_url",
     "must be an address such as https://fhir-ehr.cerner.com/r4/ and the tenant's id"),
    ({"contact_phone": TYPED}, "contact_phone",
     "must be a telephone number as patients dial it, such as +1 312 234 6700"),
    ({"organizers": [TYPED]}, "organizers.0", "must be an id such as 5b18f6c4-d92e-4a03-b7e5-06c4d3a81f29"),
    ({"organizers": TYPED}, "organizers", "must be a list"),
    ({"video_visit_types": ["a/b"]}, "video_visit_types.0",
     "may hold only letters, digits, dots and hyphens, at most 64"),
    ({"framers": ["https://a.example"] * 21}, "framers", "must have at most 20 entries"),
    ({"framers": [f"https://a.example/{TYPED}"]}, "framers.0", "must be an origin such as https://embedded.cerner.com"),
    ({"join_opens_minutes": -1}, "join_opens_minutes", "must be at least 0"),
    ({"join_closes_minutes": 481}, "join_closes_minutes", "must be at most 480"),
    ({"join_opens_minutes": TYPED}, "join_opens_minutes", "must be a whole number"),
    ({"write_back": TYPED}, "write_back", "must be true or false"),
    ({"messages": TYPED}, "messages", "must be an object"),
    ({"messages": {"quiet_from": "9 pm"}}, "messages.quiet_from", "must be a time such as 21:00"),
    ({"messages": {"languages": ["English"]}}, "messages.languages.0", "must be a language such as en or es-MX"),
    ({"messages": {"languages": []}}, "messages.languages", "must not be empty"),
    ({"messages": {"allowed_numbers": [TYPED]}}, "messages.allowed_numbers.0", "must be a number such as +18005550100"),
    ({"messages": {"texts": {"change": "{clinic}"}}}, "messages.texts",
     "change: must hold {date}, {link}, {time}, {zone}"),
    ({"messages": {"texts": {"change": f"{{{TYPED}}}"}}}, "messages.texts.change",
     "may hold only the placeholders {clinic}, {date}, {link}, {phone}, {time}, {zone}"),
    ({"client_secret": TYPED}, "client_secret", "is not known here"),
])
def test_a_wrong_field_of_a_connection(changes: dict[str, Any], path: str, said: str) -> None:
    assert described(ConnectionInput, GOOD | changes) == {path: said}


def test_a_missing_field() -> None:
    assert described(SenderInput, {"kind": "phone_number", "label": "x"}) == {"value": "is missing"}
    assert described(Department, []) == {"body": "must be an object"}


@pytest.mark.parametrize("phone", ["+13122346700", "(312) 234-6700", "+45 33 74 61 00", "0800 123456 ext. 12", "112"])
def test_a_contact_phone_is_what_patients_dial(phone: str) -> None:
    assert wanted(contact_phone=phone).contact_phone == phone


@pytest.mark.parametrize("phone", ["", "+", "+1", "ask me", "+1 312 234 6700; rm", "1" * 41, "(-.-)"])
def test_a_contact_phone_that_nobody_can_dial(phone: str) -> None:
    assert list(described(ConnectionInput, GOOD | {"contact_phone": phone})) == ["contact_phone"]


def test_a_sentence_with_a_value_keeps_its_template_for_translators() -> None:
    with pytest.raises(ValidationError) as refused:
        ConnectionInput.model_validate(GOOD | {"join_opens_minutes": 999, "messages": {"texts": {"change": "{x}"}}})
    found = faults(refused.value)
    texts = [text for text in found.values() if isinstance(text, Text)]
    assert {text.template for text in texts} == {"must be at most %(le)s", "may hold only the placeholders %(known)s"}
    assert all(text.template % text.values == text for text in texts) and len(texts) == 2


def test_a_patch_changes_what_it_names_and_null_removes_only_the_patients_base(azurite: Azurite) -> None:
    assert ConnectionPatch.model_validate({}).changes() == {}
    assert ConnectionPatch(name=None, patient_fhir_base_url=None).changes() == {"patient_fhir_base_url": None}
    assert ConnectionPatch(write_back=False, organizers=[]).changes() == {"write_back": False, "organizers": []}


def test_departments_share_neither_names_nor_locations(azurite: Azurite) -> None:
    services, scope = pinned(azurite)
    made = connected(services, scope)
    departments = [Department(name="One", location_ids=["1", "2"], time_zone="America/Chicago"),
                   Department(name="One", location_ids=["3"], time_zone="America/Chicago"),
                   Department(name="Two", location_ids=["2"], time_zone="America/Chicago")]
    with pytest.raises(RefusedError) as refused:
        set_departments(scope, made.value.id, made.etag, departments, Actor("x"))
    assert refused.value.details == {"departments.1.name": "names a second department",
                                     "departments.2.location_ids": "holds a location of another department"}


def described(model: type[BaseModel], values: object) -> dict[str, str]:
    with pytest.raises(ValidationError) as refused:
        model.model_validate(values)
    found = faults(refused.value)
    assert TYPED not in str(found)
    return found
