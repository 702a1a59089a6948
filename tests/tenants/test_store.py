"""Configuration changes: versioned, audited in their own transaction, refused with the field that is wrong."""

from collections import Counter
from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from connector import clock, tenants
from connector.adapters.tables import Row, RowExists, Write
from connector.errors import RefusedError
from connector.tenants import ConnectionPatch, Department, SenderInput, SenderPatch, Verification
from connector.tenants import audit as audit_module
from sandbox.azurite import Azurite
from tests.tenants.stamp import ACTOR, BASE, agree, audit, connected, pinned, race, verified, wanted

CONSENTS = {"consents.send_sms", "consents.patients_agreed"}
OTHER = BASE + "-other"
DEPARTMENT = Department(name="Family Medicine", location_ids=["21570461"], time_zone="America/Chicago")


def number(value: str = "+18005550100", kind: str = "phone_number") -> SenderInput:
    return SenderInput(kind=kind, value=value, label="Main")  # type: ignore[arg-type]


def test_each_change_leaves_one_audit_row_with_who_when_and_what(azurite: Azurite) -> None:
    services, scope = pinned(azurite)
    sender = tenants.add_sender(scope, number(), ACTOR)
    made = connected(services, scope)
    identity = made.value.id
    made = tenants.set_departments(scope, identity, made.etag, [DEPARTMENT], ACTOR)
    made = tenants.link_sender(scope, identity, made.etag, sender.id, ACTOR)
    agree(scope)
    verified(scope, sender.id)
    made = tenants.change_connection(scope, identity, made.etag, ConnectionPatch(messages_enabled=True), ACTOR)
    assert (made.value.departments, made.value.sender_id) == ([DEPARTMENT], sender.id)
    assert made.value.messages_enabled
    assert audit(scope) == Counter(["sender.added", "sender.changed", "connection.added", "connection.departments_set",
                                    "connection.sender_linked", "connection.changed", "consent.given", "consent.given"])
    newest, *_, oldest = scope.tables.query(tenants.CONFIGURATION, scope.tenant_id, start="audit.", end="audit/")
    assert (oldest.text("action"), newest.text("action")) == ("sender.added", "connection.changed")
    assert (newest.text("actor"), newest.text("target")) == (ACTOR.object_id, identity)


def test_a_change_and_its_audit_row_stand_or_fall_together(azurite: Azurite, monkeypatch: pytest.MonkeyPatch) -> None:
    services, scope = pinned(azurite)
    made = connected(services, scope)
    at = clock.now()
    monkeypatch.setattr(audit_module, "clock", SimpleNamespace(now=lambda: at))
    monkeypatch.setattr(audit_module, "secrets", SimpleNamespace(token_hex=lambda _: "00000000"))
    changed = tenants.change_connection(scope, made.value.id, made.etag, ConnectionPatch(name="One"), ACTOR)
    with pytest.raises(RowExists):  # the same audit key again
        tenants.change_connection(scope, made.value.id, changed.etag, ConnectionPatch(name="Two"), ACTOR)
    assert tenants.connection(scope, made.value.id) == changed
    assert audit(scope)["connection.changed"] == 1


def test_a_stale_version_changes_nothing(azurite: Azurite) -> None:
    services, scope = pinned(azurite)
    first = connected(services, scope)
    second = tenants.change_connection(scope, first.value.id, first.etag, ConnectionPatch(name="Other"), ACTOR)
    before = audit(scope)
    for etag in first.etag, "*", 'W/"x"', "":
        with pytest.raises(RefusedError) as refused:
            tenants.change_connection(scope, first.value.id, etag, ConnectionPatch(name="Lost"), ACTOR)
        assert refused.value.status == 412
    assert tenants.connection(scope, first.value.id) == second
    assert audit(scope) == before


def test_of_eight_who_change_the_same_version_one_wins(azurite: Azurite) -> None:
    services, scope = pinned(azurite)
    made = connected(services, scope)
    outcomes = race([
        lambda n=n: tenants.change_connection(
            scope, made.value.id, made.etag, ConnectionPatch(name=f"Name {n}"), ACTOR).value.name
        for n in range(8)])
    won = [one for one in outcomes if isinstance(one, str)]
    assert won == [tenants.connection(scope, made.value.id).value.name]
    assert [one.status for one in outcomes if isinstance(one, RefusedError)] == [412] * 7
    assert audit(scope)["connection.changed"] == 1


def test_a_base_belongs_to_one_connection_of_a_tenant_and_is_reserved_from_no_other(azurite: Azurite) -> None:
    services, scope = pinned(azurite)
    connected(services, scope)
    for field in "fhir_base_url", "patient_fhir_base_url":
        with pytest.raises(RefusedError) as refused:
            connected(services, scope, **{"fhir_base_url": OTHER, field: BASE + "/"})
        assert (refused.value.status, list(refused.value.details)) == (409, [field])
    assert len(tenants.connections(scope)) == 1
    _, stranger = pinned(azurite)
    assert connected(services, stranger).value.fhir_base_url == BASE


@pytest.mark.parametrize(("changes", "missing"), [
    ({"environment": "test"}, {"messages.allowed_numbers", "sender_id", "departments", *CONSENTS}),
    ({}, {"sender_id", "departments", *CONSENTS}),
])
def test_sending_begins_only_when_all_is_there(azurite: Azurite, changes: dict[str, str], missing: set[str]) -> None:
    services, scope = pinned(azurite)
    made = connected(services, scope, **changes)
    with pytest.raises(RefusedError) as refused:
        tenants.change_connection(scope, made.value.id, made.etag, ConnectionPatch(messages_enabled=True), ACTOR)
    assert (refused.value.status, set(refused.value.details)) == (422, missing)


def test_a_number_that_carriers_block_does_not_count_as_sending(azurite: Azurite) -> None:
    services, scope = pinned(azurite)
    agree(scope)
    toll_free = tenants.add_sender(scope, number(), ACTOR)
    name = tenants.add_sender(scope, number("Harbor", "alphanumeric"), ACTOR)
    made = connected(services, scope)
    identity = made.value.id
    made = tenants.set_departments(scope, identity, made.etag, [DEPARTMENT], ACTOR)
    made = tenants.link_sender(scope, identity, made.etag, toll_free.id, ACTOR)
    on = ConnectionPatch(messages_enabled=True)
    with pytest.raises(RefusedError) as refused:
        tenants.change_connection(scope, identity, made.etag, on, ACTOR)
    assert set(refused.value.details) == {"sender_id"} and "block" in refused.value.details["sender_id"]
    made = tenants.link_sender(scope, identity, made.etag, name.id, ACTOR)
    made = tenants.change_connection(scope, identity, made.etag, on, ACTOR)
    with pytest.raises(RefusedError):
        tenants.link_sender(scope, identity, made.etag, toll_free.id, ACTOR)
    verified(scope, toll_free.id)
    made = tenants.link_sender(scope, identity, made.etag, toll_free.id, ACTOR)
    rejected = tenants.SenderPatch(verification=tenants.Verification(state="rejected"))
    found = tenants.versioned_sender(scope, toll_free.id)
    tenants.change_sender(scope, toll_free.id, found.etag, rejected, ACTOR)
    made = tenants.change_connection(scope, identity, made.etag, ConnectionPatch(name="Other"), ACTOR)
    assert made.value.name == "Other", "what is on already can be changed"


def test_a_name_is_one_line_in_one_direction_and_holds_nothing_unseen() -> None:
    """Names stand in the subject of an e-mail, which the first empty line ends, and among others' words."""
    typed = wanted().model_dump() | {"clinic_name": " Lakeview\r\n\r\nWin a prize\u202e\x00\u2066Kids "}
    assert tenants.ConnectionInput.model_validate(typed).clinic_name == "Lakeview Win a prize Kids"
    with pytest.raises(ValidationError):
        tenants.ConnectionInput.model_validate(typed | {"clinic_name": "\n\u202e"})
    persian = "\u0645\u06cc\u200c\u0631\u0648\u0645"
    assert tenants.ConnectionInput.model_validate(typed | {"name": persian}).name == persian


@pytest.mark.parametrize(("kind", "value"), [("phone_number", "8005550100"), ("phone_number", "+1800"),
                                             ("phone_number", "Nordlys"), ("alphanumeric", "12345"),
                                             ("alphanumeric", "Twelve chars"), ("alphanumeric", "Besøg"),
                                             ("alphanumeric", "a-b")])
def test_a_sender_must_be_able_to_send(azurite: Azurite, kind: str, value: str) -> None:
    _, scope = pinned(azurite)
    with pytest.raises(RefusedError) as refused:
        tenants.add_sender(scope, number(value, kind), ACTOR)
    assert (refused.value.status, list(refused.value.details)) == (422, ["value"])
    assert tenants.senders(scope) == []


def test_a_sender_is_added_once_in_its_one_form_and_linked_by_its_id(azurite: Azurite) -> None:
    services, scope = pinned(azurite)
    assert tenants.add_sender(scope, number("+1 800-555-0100"), ACTOR).value == "+18005550100"
    with pytest.raises(RefusedError) as refused:
        tenants.add_sender(scope, number(), ACTOR)
    assert refused.value.status == 409
    made = connected(services, scope)
    with pytest.raises(RefusedError) as unknown:
        tenants.link_sender(scope, made.value.id, made.etag, "ffffffff", ACTOR)
    assert unknown.value.status == 422


@pytest.mark.parametrize("changes", [{"fhir_base_url": "ftp://a/b"}, {"fhir_base_url": "https://a/b?c"},
                                     {"fhir_base_url": "https://u@a/b"}, {"fhir_base_url": "https:///b"},
                                     {"name": " "}, {"environment": "live"}, {"organizers": ["x"]},
                                     {"framers": ["https://a/b"]}, {"join_opens_minutes": 241}, {"surplus": 1},
                                     {"video_visit_types": ["a/b"]}, {"fhir_base_url": "https://[::1/b"},
                                     {"fhir_base_url": "https://a:x/b"}, {"framers": ["https://*; script-src *"]}])
def test_what_a_connection_may_not_hold(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        wanted(**changes)


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "../etc/passwd", "/etc/localtime", "America", "x\0y"])
def test_a_department_needs_a_real_time_zone(zone: str) -> None:
    with pytest.raises(ValidationError):
        Department(name="x", location_ids=["1"], time_zone=zone)


def test_put_sets_columns_of_a_row_that_is_made_if_need_be(azurite: Azurite) -> None:
    _, scope = pinned(azurite)
    for values in {"a": "1", "b": "1"}, {"b": "2"}:
        scope.tables.transact("Visits", [Write("put", Row(scope.tenant_id, "row", values))])
    row = scope.tables.get("Visits", scope.tenant_id, "row")
    assert row is not None and row.values == {"a": "1", "b": "2"}


def test_of_eight_who_add_the_same_base_one_wins(azurite: Azurite) -> None:
    services, scope = pinned(azurite)
    outcomes = race([lambda: connected(services, scope)] * 8)
    assert [one.status for one in outcomes if isinstance(one, RefusedError)] == [409] * 7
    assert len(tenants.connections(scope)) == 1


def test_of_eight_who_add_the_same_number_one_wins(azurite: Azurite) -> None:
    _, scope = pinned(azurite)
    outcomes = race([lambda: tenants.add_sender(scope, number(), ACTOR)] * 8)
    assert [one.status for one in outcomes if isinstance(one, RefusedError)] == [409] * 7
    assert len(tenants.senders(scope)) == 1


def test_a_patients_base_can_be_set_taken_over_and_removed(azurite: Azurite) -> None:
    services, scope = pinned(azurite)
    first, second = connected(services, scope), connected(services, scope, fhir_base_url=OTHER)
    wanted = ConnectionPatch(patient_fhir_base_url="http://127.0.0.1:1/patients")
    held = tenants.change_connection(scope, first.value.id, first.etag, wanted, ACTOR)
    with pytest.raises(RefusedError) as refused:
        tenants.change_connection(scope, second.value.id, second.etag, wanted, ACTOR)
    assert refused.value.details == {"patient_fhir_base_url": "already belongs to “Live”"}
    none = ConnectionPatch(patient_fhir_base_url=None)
    free = tenants.change_connection(scope, held.value.id, held.etag, none, ACTOR)
    assert free.value.patient_fhir_base_url is None
    tenants.change_connection(scope, second.value.id, second.etag, wanted, ACTOR)


def test_a_sender_changes_under_its_version_and_goes_when_nothing_sends_from_it(azurite: Azurite) -> None:
    services, scope = pinned(azurite)
    made = tenants.add_sender(scope, number(), ACTOR)
    first = tenants.versioned_sender(scope, made.id)
    state = Verification(state="submitted", submitted_on="2026-11-02")  # type: ignore[arg-type]
    second = tenants.change_sender(scope, made.id, first.etag, SenderPatch(label="Desk", verification=state), ACTOR)
    assert (second.value.label, second.value.verification, second.value.value) == ("Desk", state, made.value)
    for do in (lambda: tenants.change_sender(scope, made.id, first.etag, SenderPatch(label="Lost"), ACTOR),
               lambda: tenants.remove_sender(scope, made.id, first.etag, ACTOR)):
        with pytest.raises(RefusedError) as stale:
            do()
        assert stale.value.status == 412
    connection = connected(services, scope)
    tenants.link_sender(scope, connection.value.id, connection.etag, made.id, ACTOR)
    with pytest.raises(RefusedError) as linked:
        tenants.remove_sender(scope, made.id, tenants.versioned_sender(scope, made.id).etag, ACTOR)
    assert linked.value.code == "sender.linked"
    with pytest.raises(RefusedError) as gone:
        tenants.remove_sender(scope, "ffffffff", "x", ACTOR)
    assert gone.value.status == 404


def test_a_sender_is_not_removed_while_somebody_links_it(azurite: Azurite) -> None:
    services, scope = pinned(azurite)
    made = tenants.add_sender(scope, number(), ACTOR)
    connection = connected(services, scope)
    etag = tenants.versioned_sender(scope, made.id).etag
    outcomes = race([lambda: tenants.link_sender(scope, connection.value.id, connection.etag, made.id, ACTOR).value.id,
                     lambda: str(tenants.remove_sender(scope, made.id, etag, ACTOR))])
    linked = tenants.connection(scope, connection.value.id).value.sender_id
    assert (linked is None) == (tenants.sender(scope, made.id) is None)
    assert len([one for one in outcomes if isinstance(one, RefusedError)]) == 1


def test_a_removed_number_can_be_added_again(azurite: Azurite) -> None:
    _, scope = pinned(azurite)
    made = tenants.add_sender(scope, number(), ACTOR)
    assert made.verification == Verification(state="unverified"), "carriers block toll-free numbers until then"
    tenants.remove_sender(scope, made.id, tenants.versioned_sender(scope, made.id).etag, ACTOR)
    assert tenants.add_sender(scope, number(), ACTOR).id != made.id
    assert tenants.add_sender(scope, number("+13125550100"), ACTOR).verification is None
