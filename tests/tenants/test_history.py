"""The history says who changed what and how it was; an earlier version comes back as a change of its own."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from connector import bootstrap, clock, tenants
from connector.adapters.tables import Row
from connector.errors import RefusedError
from connector.tenants import Actor, ConnectionPatch, Department, FieldChange, MessageSettings, SenderInput
from sandbox.azurite import Azurite
from tests.tenants.stamp import ACTOR, agree, connected, pinned

SECOND = Actor("7c0e5b12-93aa-4f1d-8a53-2f6f1c9be007")
DEPARTMENT = Department(name="Family Medicine", location_ids=["21570461"], time_zone="America/Chicago")


@pytest.fixture
def begun(azurite: Azurite) -> tuple[bootstrap.Services, tenants.TenantScope, tenants.Versioned[Any]]:
    services, scope = pinned(azurite)
    return services, scope, connected(services, scope)


def changed(scope: tenants.TenantScope, made: tenants.Versioned[Any], actor: Actor = ACTOR, **fields: Any) -> Any:
    return tenants.change_connection(scope, made.value.id, made.etag, ConnectionPatch(**fields), actor)


def refused(status: int, do: Any, *arguments: Any) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        do(*arguments)
    assert caught.value.status == status
    return caught.value


def test_each_change_says_who_when_and_how_each_field_was_before_and_after(begun: Any) -> None:
    _, scope, made = begun
    at = clock.now()
    made = changed(scope, made, SECOND, name="Other", messages=MessageSettings(quiet_from="20:00"))
    made = tenants.set_departments(scope, made.value.id, made.etag, [DEPARTMENT], ACTOR)
    third, second, first = tenants.history(scope).items
    assert [one.action for one in (first, second, third)] == [
        "connection.added", "connection.changed", "connection.departments_set"]
    assert (second.actor, second.target, second.restorable) == (SECOND.object_id, made.value.id, True)
    assert timedelta() <= second.at - at < timedelta(minutes=1)
    assert second.fields == [FieldChange(path="name", before="Live", after="Other"),
                             FieldChange(path="messages.quiet_from", before="21:00", after="20:00")]
    assert [field.path for field in third.fields] == [
        "departments.Family Medicine.name", "departments.Family Medicine.location_ids",
        "departments.Family Medicine.time_zone"]
    assert FieldChange(path="fhir_base_url", before=None, after=made.value.fhir_base_url) in first.fields


def test_a_change_that_changes_nothing_leaves_no_trace(begun: Any) -> None:
    _, scope, made = begun
    assert changed(scope, made, name="Live", organizers=made.value.organizers) == made
    assert len(tenants.history(scope).items) == 1


def test_the_history_of_one_connection_comes_in_pages_without_gaps(begun: Any) -> None:
    services, scope, made = begun
    other = connected(services, scope, fhir_base_url="http://127.0.0.1:1/r4/other")
    for number in range(5):
        made = changed(scope, made, name=f"Name {number}")
        other = changed(scope, other, name=f"Other {number}")
    seen, after = list[str](), ""
    while True:
        page = tenants.history(scope, made.value.id, limit=2, after=after)
        seen += [field.after for one in page.items for field in one.fields if field.path == "name"]
        if page.after is None:
            break
        after = page.after
    assert seen == ["Name 4", "Name 3", "Name 2", "Name 1", "Name 0", "Live"]
    assert {one.target for one in tenants.history(scope, made.value.id).items} == {made.value.id}


def test_a_restored_version_is_a_new_change_and_what_nobody_chooses_stays(begun: Any) -> None:
    _, scope, made = begun
    first = tenants.history(scope).items[0]
    other = changed(scope, made, name="Other", organizers=[], join_opens_minutes=5)
    back = tenants.restore(scope, made.value.id, first.id, other.etag, SECOND)
    assert back.value == made.value and back.etag != other.etag
    newest = tenants.history(scope).items[0]
    assert (newest.action, newest.actor, newest.source) == ("connection.restored", SECOND.object_id, first.id)
    again = tenants.restore(scope, made.value.id, tenants.history(scope).items[1].id, back.etag, ACTOR)
    assert again.value == other.value


def test_a_restore_is_refused_like_a_form(begun: Any) -> None:
    services, scope, made = begun
    identity = made.value.id
    sender = tenants.add_sender(scope, SenderInput(kind="alphanumeric", value="Harbor", label="x"), ACTOR)
    made = tenants.set_departments(scope, identity, made.etag, [DEPARTMENT], ACTOR)
    linked = tenants.link_sender(scope, identity, made.etag, sender.id, ACTOR)
    version = tenants.history(scope, identity).items[0]
    back = tenants.restore(scope, identity, tenants.history(scope, identity).items[-1].id, linked.etag, ACTOR)
    assert back.value.sender_id is None
    refused(412, tenants.restore, scope, identity, version.id, linked.etag, ACTOR)
    tenants.remove_sender(scope, sender.id, tenants.versioned_sender(scope, sender.id).etag, ACTOR)
    assert refused(422, tenants.restore, scope, identity, version.id, back.etag, ACTOR).details == {
        "sender_id": "names no sender"}
    other = connected(services, scope, fhir_base_url="http://127.0.0.1:1/r4/other")
    for foreign in (version.id, "0000000000000.00000000", "x", "../sender"):
        refused(404, tenants.restore, scope, other.value.id, foreign, other.etag, ACTOR)
    assert tenants.connection(scope, identity) == back


def test_a_version_that_is_no_longer_valid_names_its_field(begun: Any) -> None:
    _, scope, made = begun
    row = next(scope.tables.query(tenants.CONFIGURATION, scope.tenant_id, start="audit.", end="audit/"))
    older = json.loads(row.text("after")) | {"contact_phone": "ask at the desk", "since_removed": 1}
    scope.tables.update(tenants.CONFIGURATION, Row(row.partition, row.key, {**row.values, "after": json.dumps(older)},
                                                   row.etag))
    told = refused(422, tenants.restore, scope, made.value.id, row.key.removeprefix("audit."), made.etag, ACTOR)
    assert set(told.details) == {"contact_phone", "since_removed"}


def test_messages_come_back_only_when_everything_they_need_is_there(begun: Any) -> None:
    _, scope, made = begun
    identity = made.value.id
    sender = tenants.add_sender(scope, SenderInput(kind="alphanumeric", value="Harbor", label="x"), ACTOR)
    agree(scope)
    made = tenants.set_departments(scope, identity, made.etag, [DEPARTMENT], ACTOR)
    made = tenants.link_sender(scope, identity, made.etag, sender.id, ACTOR)
    on = changed(scope, made, messages_enabled=True)
    version = tenants.history(scope, identity).items[0].id
    off = changed(scope, on, messages_enabled=False, name="Other")
    for row in scope.tables.query(tenants.CONFIGURATION, scope.tenant_id, start="consent.", end="consent/"):
        scope.tables.delete(tenants.CONFIGURATION, row)
    assert set(refused(422, tenants.restore, scope, identity, version, off.etag, ACTOR).details) == {
        "consents.send_sms", "consents.patients_agreed"}
    agree(scope)
    assert tenants.restore(scope, identity, version, off.etag, ACTOR).value.messages_enabled


def test_what_does_not_fit_a_row_is_refused_before_anything_is_written(begun: Any) -> None:
    _, scope, made = begun
    many = [Department(name=f"Department {n}", location_ids=[f"{n}-{m:060d}" for m in range(50)],
                       time_zone="America/Chicago") for n in range(20)]
    told = refused(422, tenants.set_departments, scope, made.value.id, made.etag, many, ACTOR)
    assert told.code == "connection.too_large"
    assert tenants.connection(scope, made.value.id) == made


def test_history_is_kept_for_six_years(begun: Any) -> None:
    _, scope, made = begun
    now = datetime.now(UTC)
    try:
        clock.install(lambda: now + timedelta(days=365))
        changed(scope, made, name="Later")
        clock.install(lambda: now + timedelta(days=6 * 365 + 1))
        assert tenants.purge_history(scope) == 0
        clock.install(lambda: now + timedelta(days=6 * 365 + 3))
        assert tenants.purge_history(scope) == 1
    finally:
        clock.install(None)
    assert [one.action for one in tenants.history(scope).items] == ["connection.changed"]
