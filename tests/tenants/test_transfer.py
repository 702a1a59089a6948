"""The exported file brings back what it holds, and nothing is written when any part of it is wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest

from connector import bootstrap, tenants
from connector.errors import RefusedError
from connector.tenants import ConnectionPatch, CredentialInput, Department, SenderInput, TenantScope, transfer
from sandbox.azurite import Azurite
from tests.tenants.stamp import ACTOR, BASE, agree, audit, connected, pinned

DEPARTMENT = Department(name="Family Medicine", location_ids=["21570461"], time_zone="America/Chicago")
SECRET = "a-good-secret-of-theirs"
Begun = tuple[bootstrap.Services, TenantScope]


@pytest.fixture
def begun(azurite: Azurite) -> Begun:
    """Two connections; the first with everything, and messages on."""
    services, scope = pinned(azurite)
    made = connected(services, scope, write_back=True, patient_fhir_base_url=BASE + "-patients")
    sender = tenants.add_sender(scope, SenderInput(kind="alphanumeric", value="Harbor", label="x"), ACTOR)
    agree(scope)
    secret = CredentialInput(client_id="own-client", client_secret=SECRET)  # type: ignore[arg-type]
    made = tenants.set_credential(scope, made.value.id, made.etag, "system", secret, ACTOR)
    made = tenants.set_departments(scope, made.value.id, made.etag, [DEPARTMENT], ACTOR)
    made = tenants.link_sender(scope, made.value.id, made.etag, sender.id, ACTOR)
    tenants.change_connection(scope, made.value.id, made.etag, ConnectionPatch(messages_enabled=True), ACTOR)
    connected(services, scope, name="Test", environment="test", fhir_base_url=BASE + "-2")
    return services, scope


def exported(scope: TenantScope) -> tuple[dict[str, Any], str]:
    file = tenants.export(scope)
    return json.loads(file.value.model_dump_json()), file.etag


def imported(begun: Begun, document: object, etag: str | None = None, *, dry_run: bool = False) -> Any:
    services, scope = begun
    etag = tenants.export(scope).etag if etag is None else etag
    return tenants.import_file(services.directory, scope, document, etag, ACTOR, dry_run=dry_run)


def faults(begun: Begun, document: object, etag: str | None = None) -> dict[str, str]:
    """What an import is refused for; it wrote nothing."""
    before, trail = exported(begun[1]), audit(begun[1])
    with pytest.raises(RefusedError) as refused:
        imported(begun, document, etag)
    assert refused.value.status in (412, 422)
    assert (exported(begun[1]), audit(begun[1])) == (before, trail)
    return refused.value.details


def test_an_export_is_stable_and_holds_no_secret_no_etag_and_no_time(begun: Begun) -> None:
    document, _ = exported(begun[1])
    assert json.dumps(document) == json.dumps(exported(begun[1])[0])
    first, second = document["connections"]
    assert (first["fhir_base_url"], second["fhir_base_url"]) == (BASE, BASE + "-2")
    assert (first["sender"], first["messages_enabled"], first["departments"][0]["name"]) == (
        "Harbor", True, "Family Medicine")
    assert list(first)[:3] == ["name", "environment", "fhir_base_url"]
    for absent in SECRET, "own-client", "credential", "sender_id", "etag", "changed_at":
        assert absent not in json.dumps(document)


def test_an_export_that_is_imported_changes_nothing(begun: Begun) -> None:
    _, scope = begun
    before, trail = tenants.connections(scope), audit(scope)
    result, written = imported(begun, exported(scope)[0])
    assert [one.outcome for one in result.connections] == ["unchanged", "unchanged"] and written == []
    assert (tenants.connections(scope), audit(scope)) == (before, trail)


def test_a_dry_run_says_what_would_change_and_the_import_does_it(begun: Begun) -> None:
    _, scope = begun
    document, etag = exported(scope)
    document["connections"][0] |= {"name": "Renamed", "join_opens_minutes": 5}
    new = {**document["connections"][1], "id": None, "name": "New", "fhir_base_url": BASE + "-3"}
    document["connections"].append(new)
    before = tenants.connections(scope)
    dry, nothing = imported(begun, document, dry_run=True)
    assert (tenants.connections(scope), nothing, dry.dry_run) == (before, [], True)
    assert [(one.outcome, one.id is None) for one in dry.connections] == [
        ("changed", False), ("unchanged", False), ("added", True)]
    assert {field.path: (field.before, field.after) for field in dry.connections[0].fields} == {
        "name": ("Live", "Renamed"), "join_opens_minutes": (30, 5)}
    result, written = imported(begun, document, etag)
    assert [one.fields for one in result.connections[:2]] == [one.fields for one in dry.connections[:2]]
    assert [one.value.name for one in written] == ["Renamed", "New"]
    assert result.connections[2].id == written[1].value.id
    kept = tenants.connection(scope, written[0].value.id).value
    assert kept.credentials["system"].client_id == "own-client", "an import takes no credentials away"
    assert audit(scope)["connection.imported"] == 2
    again, _ = exported(scope)
    assert again["connections"][0]["name"] == "Renamed" and len(again["connections"]) == 3


def test_what_the_file_does_not_mention_stays(begun: Begun) -> None:
    _, scope = begun
    document, _ = exported(scope)
    del document["connections"][0]
    result, written = imported(begun, document)
    assert len(result.connections) == 1 and written == [] and len(tenants.connections(scope)) == 2


def test_every_fault_is_told_by_its_path_and_nothing_is_written(begun: Begun) -> None:
    document, _ = exported(begun[1])
    document["connections"][0] |= {"join_opens_minutes": 999, "contact_phone": "ask", "since": 1}
    document["connections"][1]["departments"] = [{"name": "A", "location_ids": [], "time_zone": "Mars/Olympus"}]
    assert set(faults(begun, document)) == {
        "connections.0.join_opens_minutes", "connections.0.contact_phone", "connections.0.since",
        "connections.1.departments.0.location_ids", "connections.1.departments.0.time_zone"}


def test_faults_of_a_whole_connection_are_told_by_their_path_too(begun: Begun) -> None:
    document, _ = exported(begun[1])
    first, second = document["connections"]
    first |= {"environment": "test", "active": False, "messages": {"excluded_departments": ["Elsewhere"]}}
    second |= {"sender": "+18005550199"}
    more = [{**second, "id": None, "sender": None, "fhir_base_url": BASE + "-patients"},
            {**second, "sender": "Harbor", "messages_enabled": True},
            {**second, "id": "azzzzzzzz", "fhir_base_url": BASE + "-5"}]
    assert set(faults(begun, document | {"connections": [first, second, *more]})) == {
        "connections.0.environment", "connections.0.messages_enabled",
        "connections.0.messages.excluded_departments", "connections.1.sender", "connections.2.fhir_base_url",
        "connections.3.id", "connections.3.fhir_base_url", "connections.3.departments",
        "connections.3.messages.allowed_numbers", "connections.4.id"}


@pytest.mark.parametrize(("changes", "path"), [
    ({"file_version": 2}, "file_version"), ({"file_version": "1"}, "file_version"), ({"file_version": None},
                                                                                     "file_version"),
    ({"tenant_id": "00000000-1111-4222-8333-444444444444"}, "tenant_id"), ({"connections": None}, "connections"),
    ({"senders": []}, "senders"),
])
def test_a_file_of_another_version_or_organization_is_refused(begun: Begun, changes: Any, path: str) -> None:
    assert list(faults(begun, exported(begun[1])[0] | changes)) == [path]


@pytest.mark.parametrize("document", [None, [], "x", 7, {}, {"file_version": 1}])
def test_what_is_no_file(begun: Begun, document: object) -> None:
    assert faults(begun, document)


def test_another_tenants_export_is_refused_by_its_ids(begun: Begun, azurite: Azurite) -> None:
    services, other = pinned(azurite)
    connected(services, other, fhir_base_url=BASE + "-other")
    document, _ = exported(other)
    assert list(faults(begun, document)) == ["tenant_id"]
    del document["tenant_id"]
    assert list(faults(begun, document)) == ["connections.0.id"]
    document["connections"][0]["id"] = None
    result, _ = imported(begun, document)
    assert result.connections[0].outcome == "added"


def test_an_import_needs_the_version_that_was_exported(begun: Begun) -> None:
    services, scope = begun
    document, etag = exported(scope)
    connected(services, scope, fhir_base_url=BASE + "-4")
    for stale in etag, "", "*":
        assert faults(begun, document, stale) == {}


def test_a_change_in_the_very_moment_refuses_that_connection_alone(
    begun: Begun, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, scope = begun
    document, etag = exported(scope)
    for one in document["connections"]:
        one["name"] += " renamed"
    real, raced = transfer.change, False

    def racing(scope: TenantScope, identity: str, *arguments: Any) -> Any:
        """Another admin changes the first connection after it was checked and before it is written."""
        nonlocal raced
        if not raced:
            raced = True
            present = tenants.connection(scope, identity)
            tenants.change_connection(scope, identity, present.etag, ConnectionPatch(clinic_name="Theirs"), ACTOR)
        return real(scope, identity, *arguments)

    monkeypatch.setattr(transfer, "change", racing)
    result, written = imported(begun, document, etag)
    assert [one.outcome for one in result.connections] == ["refused", "changed"]
    assert result.connections[0].reason and len(written) == 1
    assert sorted(one.value.name for one in tenants.connections(scope)) == ["Live", "Test renamed"]


def test_messages_are_switched_on_by_a_file_only_with_all_they_need(begun: Begun) -> None:
    _, scope = begun
    for row in scope.tables.query(tenants.CONFIGURATION, scope.tenant_id, start="consent.", end="consent/"):
        scope.tables.delete(tenants.CONFIGURATION, row)
    document, _ = exported(scope)
    assert imported(begun, document)[0].connections[0].outcome == "unchanged", "what is on stays on"
    document["connections"][1] |= {"sender": "Harbor", "messages_enabled": True, "departments": [
        {"name": "A", "location_ids": ["1"], "time_zone": "UTC"}], "messages": {"allowed_numbers": ["+13125550100"]}}
    assert set(faults(begun, document)) == {"connections.1.consents.send_sms", "connections.1.consents.patients_agreed"}
