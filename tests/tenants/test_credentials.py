"""A tenant's own credentials: written and never shown, used with the EHR that they belong to, one tenant's only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from pydantic import ValidationError

from connector import bootstrap, tenants
from connector.adapters.tables import Row
from connector.errors import ConnectorError, RefusedError
from connector.portal.records import integration_records
from connector.tenants import ConnectionPatch, CredentialInput, Persona, TenantScope, Versioned
from sandbox.azurite import Azurite
from sandbox.cast import HARBOR, NORDLYS
from sandbox.cerner import clients
from tests.adapters.cerner_world import Simulated
from tests.tenants.stamp import ACTOR, BASE, build, connected, pinned

SECRET = CredentialInput(client_id=clients.SMART_SYSTEM_CLIENT_ID, client_secret=clients.SMART_SYSTEM_SECRET)  # type: ignore[arg-type]
KEY = CredentialInput(client_id=clients.SMART_SYSTEM_CLIENT_ID, method="private_key_jwt")


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulated]:
    with ExitStack() as running:
        yield Simulated(tmp_path_factory.mktemp("cerner"), running)


def unlisted(azurite: Azurite, base: str, **changes: Any) -> tuple[bootstrap.Services, TenantScope, Versioned[Any]]:
    """A tenant whose operator lists another base than the one of its connection."""
    services, scope = pinned(azurite)
    return services, scope, connected(services, scope, fhir_base_url=base, **changes)


def entered(scope: TenantScope, made: Versioned[Any], wanted: CredentialInput, persona: Persona = "system") -> Any:
    return tenants.set_credential(scope, made.value.id, made.etag, persona, wanted, ACTOR)


def granted(services: bootstrap.Services, scope: TenantScope, made: Versioned[Any]) -> bool:
    """Whether the EHR gives the system account a token."""
    client, wanted = services.ehr.client(scope, made.value, "system"), services.ehr.scopes(made.value, "system")
    try:
        return bool(services.ehr.cerner.system_tokens(made.value.fhir_base_url, client, wanted))
    except ConnectorError as error:
        assert error.code in ("cerner.invalid_client", "cerner.unauthorized_client")
        return False


def refused(do: Any) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        do()
    return caught.value


def test_a_base_that_nobody_listed_is_used_with_the_tenants_own_secret_and_only_so(
    azurite: Azurite, simulated: Simulated
) -> None:
    services, scope, made = unlisted(azurite, simulated.base(HARBOR))
    told = refused(lambda: services.ehr.client(scope, made.value, "system"))
    assert (told.code, told.status) == ("connection.unlisted_base", 403)
    assert services.ehr.client_id(scope, made.value, "system") is None
    wrong = entered(scope, made, replace_secret("another-secret-of-theirs"))
    assert not granted(services, scope, wrong)
    right = entered(scope, wrong, SECRET)
    assert granted(services, scope, right), "a changed secret is used at once"
    assert refused(lambda: services.ehr.client(scope, right.value, "provider")).code == "connection.unlisted_base"
    gone = tenants.remove_credential(scope, made.value.id, right.etag, "system", ACTOR)
    assert refused(lambda: services.ehr.client(scope, gone.value, "system")).code == "connection.unlisted_base"
    assert not rows(scope)


def replace_secret(secret: str) -> CredentialInput:
    return CredentialInput(client_id=SECRET.client_id, client_secret=secret)  # type: ignore[arg-type]


def test_a_key_of_its_own_signs_and_is_published_for_this_connection_alone(
    azurite: Azurite, simulated: Simulated
) -> None:
    services, scope, made = unlisted(azurite, simulated.base(NORDLYS), scopes_version="v2")
    first = entered(scope, made, KEY)
    public = first.value.credentials["system"].public_jwk
    assert public and "d" not in public
    assert not granted(services, scope, first), "the EHR knows another key"
    simulated.published[:] = [public]
    assert granted(build(azurite, scope.tenant_id), scope, first)
    second = entered(scope, first, KEY)
    assert second.value.credentials["system"].public_jwk != public, "entered again, a new key"
    url = f"{services.settings.public_url}/launch/{made.value.id}/jwks.json"
    records = integration_records(services, scope, second.value)
    assert (records.system.jwks_url, records.system.client_id) == (url, KEY.client_id)
    assert (records.provider.jwks_url, records.provider.client_id) == (url, None)


def test_a_listed_base_keeps_the_operators_client_until_an_own_one_is_entered(azurite: Azurite) -> None:
    services, scope = pinned(azurite)
    made = connected(services, scope)
    assert services.ehr.client(scope, made.value, "system").client_id == "none"
    own = entered(scope, made, SECRET)
    assert services.ehr.client(scope, own.value, "system").client_id == SECRET.client_id
    assert services.ehr.client(scope, own.value, "provider").client_id == "none"


def test_no_secret_is_shown_audited_or_stored_in_the_open(azurite: Azurite) -> None:
    services, scope = pinned(azurite)
    made = entered(scope, connected(services, scope), SECRET)
    shown = made.value.credentials["system"]
    assert (shown.has_secret, shown.client_id, shown.public_jwk) == (True, SECRET.client_id, None)
    newest = tenants.history(scope).items[0]
    assert newest.action == "connection.credentials_set"
    assert {field.path for field in newest.fields} >= {"credentials.system.client_id", "credentials.system.changed_at"}
    everything = [str(row) for row in scope.tables.query(tenants.CONFIGURATION, scope.tenant_id)]
    said = repr(SECRET) + repr(made) + repr(tenants.own_credential(scope, made.value, "system"))
    assert clients.SMART_SYSTEM_SECRET not in "".join(everything) + said
    assert len(rows(scope)) == 1


def rows(scope: TenantScope) -> list[Row]:
    return list(scope.tables.query(tenants.CONFIGURATION, scope.tenant_id, start="credential.", end="credential/"))


def test_a_stored_secret_opens_nowhere_else(azurite: Azurite) -> None:
    services, scope = pinned(azurite)
    made = entered(scope, connected(services, scope), SECRET)
    row = rows(scope)[0]
    other_services, other_scope = pinned(azurite)
    other = entered(other_scope, connected(other_services, other_scope), replace_secret("another-secret-of-theirs"))
    moved = rows(other_scope)[0]
    other_scope.tables.update(tenants.CONFIGURATION, Row(moved.partition, moved.key, row.values, moved.etag))
    lost = refused(lambda: other_services.ehr.client(other_scope, other.value, "system"))
    assert (lost.code, lost.status) == ("connection.credentials_lost", 409)
    assert tenants.own_credential(scope, made.value, "system").secret == clients.SMART_SYSTEM_SECRET


def test_credentials_change_under_the_version_that_was_read_and_survive_a_restore(azurite: Azurite) -> None:
    services, scope = pinned(azurite)
    made = connected(services, scope)
    own = entered(scope, made, SECRET)
    assert refused(lambda: entered(scope, made, replace_secret("another-secret-of-theirs"))).status == 412
    assert tenants.own_credential(scope, own.value, "system").secret == clients.SMART_SYSTEM_SECRET
    back = tenants.restore(scope, made.value.id, tenants.history(scope).items[-1].id, own.etag, ACTOR)
    assert back.value.credentials == own.value.credentials


@pytest.mark.parametrize("values", [
    {"client_secret": "SMART_SYSTEM_CLIENT_SECRET"}, {"client_secret": "americas_storage__clientid"},
    {"client_secret": "@Microsoft.KeyVault(SecretUri=https://v.example/s)"}, {"client_secret": "%CONNECTOR_X%"},
    {"client_secret": "${SECRET}"}, {"client_secret": "$(cat)"}, {"client_secret": "short"}, {"client_secret": ""},
    {"client_secret": "with a space"}, {"client_secret": "x" * 1001}, {"client_secret": "línea-de-secreto"}, {},
    {"method": "private_key_jwt", "client_secret": "a-good-secret"}, {"client_id": "a:b", "client_secret": "x" * 9},
    {"client_secret": "a-good-secret", "setting": "SMART_SYSTEM_CLIENT_SECRET"}])
def test_what_is_no_credential(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        CredentialInput.model_validate({"client_id": "a", **values})
    told = tenants.faults(caught.value)
    assert set(told) <= {"client_id", "client_secret", "setting"} and told
    assert len(values.get("client_secret", "")) < 6 or values["client_secret"] not in str(told)


def test_a_connection_that_is_switched_off_speaks_to_nobody_and_its_messages_stay_off(azurite: Azurite) -> None:
    services, scope = pinned(azurite)
    made = connected(services, scope)
    off = tenants.change_connection(scope, made.value.id, made.etag, ConnectionPatch(active=False), ACTOR)
    for persona in ("provider", "system"):
        told = refused(lambda persona=persona: services.ehr.client(scope, off.value, persona))
        assert told.code == "connection.inactive" and off.value.contact_phone in told.message
    wanted = ConnectionPatch(messages_enabled=True)
    assert "active" in refused(
        lambda: tenants.change_connection(scope, made.value.id, off.etag, wanted, ACTOR)).details
    on = tenants.change_connection(scope, made.value.id, off.etag, ConnectionPatch(active=True), ACTOR)
    assert services.ehr.client(scope, on.value, "system") and not on.value.messages_enabled
    assert on.value.fhir_base_url == BASE
