"""Settings are checked as a whole, every fault is named at once, and no message holds a value."""

import base64
import json

import pytest

from connector import settings
from connector.regions import Region
from connector.settings import SettingsError

TID = "7c1e2a54-93b8-4f0d-8a6e-51d2b7f0c394"


def key(key_id: str, length: int = 32) -> str:
    return f"{key_id}:{base64.urlsafe_b64encode(bytes(length)).decode().rstrip('=')}"


COMMON = {
    "CONNECTOR_REGIONS": "americas, emea",
    "ENTRA_CLIENT_ID": "e1b5c8d4-07f2-4a69-8d3b-f6027c9e41a8",
    "SMART_PROVIDER_CLIENT_ID": "p",
    "SMART_PATIENT_CLIENT_ID": "q",
    "SMART_SYSTEM_CLIENT_ID": "s",
}
PRODUCTION = COMMON | {
    "CONNECTOR_ENVIRONMENT": "production",
    "CONNECTOR_PUBLIC_URL": "https://visits.hospital.example/",
    "CONNECTOR_TENANTS": json.dumps({TID.upper(): ["https://fhir-ehr.cerner.com/r4/t"]}),
    "CONNECTOR_SEALING_KEYS": f"{key('s2')}, {key('s1')}",
    "CONNECTOR_WRAPPING_KEYS": key("w1"),
    "ENTRA_AUTHORITY": "https://login.microsoftonline.com",
    "ENTRA_IDENTITY_CLIENT_ID": "1",
    "GRAPH_URL": "https://graph.microsoft.com",
    **{
        f"{region}_STORAGE__{service}ServiceUri": f"https://{region.lower()}.{service}.core.windows.net"
        for region in ("AMERICAS", "EMEA")
        for service in ("table", "queue")
    },
    "AMERICAS_COMMUNICATION_ENDPOINT": "https://acs.unitedstates.communication.azure.com",
}
SANDBOX = COMMON | {
    "CONNECTOR_ENVIRONMENT": "sandbox",
    "CONNECTOR_PUBLIC_URL": "http://127.0.0.1:7071",
    "CONNECTOR_TENANTS": json.dumps({TID: ["*"]}),
    "CONNECTOR_SEALING_KEYS": key("sandbox-s1"),
    "CONNECTOR_WRAPPING_KEYS": key("sandbox-w1"),
    "ENTRA_AUTHORITY": "https://localhost:1",
    "ENTRA_CLIENT_SECRET": "x",
    "GRAPH_URL": "http://[::1]:1",
    "AMERICAS_STORAGE": "UseDevelopmentStorage=true",
    "EMEA_STORAGE": "UseDevelopmentStorage=true",
}


def refused(environment: dict[str, str], **changes: str) -> str:
    with pytest.raises(SettingsError) as error:
        settings.load(environment | changes)
    return str(error.value)


def test_production_as_documented() -> None:
    loaded = settings.load(PRODUCTION)
    assert not loaded.sandbox
    assert loaded.public_url == "https://visits.hospital.example"
    assert [served.region for served in loaded.regions] == ["americas", "emea"]
    assert loaded.serves(Region.EMEA) and not loaded.serves(Region.APAC)
    assert loaded.listed_bases(TID) == ("https://fhir-ehr.cerner.com/r4/t",)
    assert loaded.listed_bases("somebody else") is None
    assert [one.id for one in loaded.sealing_keys] == ["s2", "s1"]
    assert loaded.smart_scopes_version == "v1"
    with pytest.raises(LookupError):
        loaded.region(Region.APAC)


def test_sandbox_as_documented() -> None:
    assert settings.load(SANDBOX).sandbox


def test_an_empty_environment_names_everything_that_is_missing_at_once() -> None:
    told = refused({})
    for name in ("CONNECTOR_ENVIRONMENT", "CONNECTOR_PUBLIC_URL", "CONNECTOR_REGIONS", "CONNECTOR_TENANTS",
                 "CONNECTOR_SEALING_KEYS", "CONNECTOR_WRAPPING_KEYS", "ENTRA_AUTHORITY", "ENTRA_CLIENT_ID",
                 "GRAPH_URL", "SMART_PROVIDER_CLIENT_ID", "SMART_PATIENT_CLIENT_ID", "SMART_SYSTEM_CLIENT_ID"):
        assert f"{name} is missing" in told
    assert "ENTRA_CLIENT_SECRET or ENTRA_IDENTITY_CLIENT_ID" in told


def test_each_fault_is_named_once_together_and_no_value_is_shown() -> None:
    wrong = {
        "CONNECTOR_PUBLIC_URL": "http://user:hunter2@plain.example/?q#f",
        "CONNECTOR_REGIONS": "americas,atlantis",
        "CONNECTOR_TENANTS": "{hunter2",
        "CONNECTOR_SEALING_KEYS": "hunter2",
        "CONNECTOR_WRAPPING_KEYS": f"{key('w')},{key('w')}",
        "GRAPH_URL": "https://10.11.12.13",
        "AMERICAS_STORAGE__tableServiceUri": "",
        "AMERICAS_COMMUNICATION_ENDPOINT": "http://acs.example",
        "SMART_SCOPES_VERSION": "v3-hunter2",
    }
    told = refused(PRODUCTION, **wrong)
    for name in wrong:
        assert name.partition("__")[0] in told
    for value in ("hunter2", "atlantis", "10.11.12.13", "plain.example", "acs.example"):
        assert value not in told


def test_the_sender_of_e_mail_is_an_address_and_needs_a_resource_to_send_by() -> None:
    sender = {"AMERICAS_EMAIL_SENDER": "visits@mail.hospital.example"}
    assert settings.load(PRODUCTION | sender).region(Region.AMERICAS).email_sender == "visits@mail.hospital.example"
    assert settings.load(PRODUCTION).region(Region.AMERICAS).email_sender is None
    for wrong in ("visits", "a b@hospital.example", "A <a@hospital.example>", "a@hospital", "a@b.example, c@d.example"):
        assert "AMERICAS_EMAIL_SENDER must be an e-mail address" in refused(PRODUCTION, AMERICAS_EMAIL_SENDER=wrong)
    told = refused(PRODUCTION | sender, AMERICAS_COMMUNICATION_ENDPOINT="")
    assert "AMERICAS_EMAIL_SENDER needs AMERICAS_COMMUNICATION_ENDPOINT" in told


@pytest.mark.parametrize("marker", ["WEBSITE_INSTANCE_ID", "IDENTITY_ENDPOINT"])
def test_the_sandbox_does_not_start_in_azure(marker: str) -> None:
    assert marker in refused(SANDBOX, **{marker: ""})


@pytest.mark.parametrize("name", ["CONNECTOR_PUBLIC_URL", "ENTRA_AUTHORITY", "GRAPH_URL",
                                  "AMERICAS_COMMUNICATION_ENDPOINT", "EMEA_STORAGE__queueServiceUri",
                                  "SMART_VAULT_KEY"])
@pytest.mark.parametrize("value", ["https://graph.microsoft.com", "http://10.0.0.1", "http://0.0.0.0:1",
                                   "http://127.0.0.1.example.com", "nonsense"])
def test_the_sandbox_reaches_only_loopback(name: str, value: str) -> None:
    assert f"{name} must be a loopback address" in refused(SANDBOX, **{name: value})


@pytest.mark.parametrize("name", ["CONNECTOR_PUBLIC_URL", "ENTRA_AUTHORITY", "GRAPH_URL",
                                  "AMERICAS_COMMUNICATION_ENDPOINT", "EMEA_STORAGE__tableServiceUri",
                                  "SMART_VAULT_KEY"])
@pytest.mark.parametrize("value", ["http://visits.hospital.example", "https://127.0.0.1", "https://localhost",
                                   "https://[::1]", "https://8.8.8.8", "https://[2606:4700::1]", "https://intranet",
                                   "https://a.internal", "https://x.localhost", "ftp://visits.hospital.example"])
def test_production_reaches_only_https_by_public_names(name: str, value: str) -> None:
    assert f"{name} must be https to a public host" in refused(PRODUCTION, **{name: value})


@pytest.mark.parametrize("tenants", ['{"*": []}', json.dumps({TID: ["https://a.example/r4/t", "*"]})])
def test_production_lists_every_tenant_and_base(tenants: str) -> None:
    assert "CONNECTOR_TENANTS may hold *" in refused(PRODUCTION, CONNECTOR_TENANTS=tenants)


def test_even_the_sandbox_lists_its_tenants() -> None:
    assert "CONNECTOR_TENANTS may hold *" in refused(SANDBOX, CONNECTOR_TENANTS='{"*": ["*"]}')


@pytest.mark.parametrize("name", ["CONNECTOR_SEALING_KEYS", "CONNECTOR_WRAPPING_KEYS"])
@pytest.mark.parametrize("keys", [key("k", 31), key("k", 33), "k", ":", "k:!", key("sandbox-s1"), f"{key('a')},:",
                                  f"{key('a')},{key('a')}"])
def test_keys_must_be_whole_distinct_and_not_the_sandboxs(name: str, keys: str) -> None:
    assert name in refused(PRODUCTION, **{name: keys})


@pytest.mark.parametrize("tenants", ["[]", '"x"', "1", '{"a": 1}', '{"a": null}'])
def test_the_list_of_tenants_must_have_its_form(tenants: str) -> None:
    assert "CONNECTOR_TENANTS must be JSON" in refused(PRODUCTION, CONNECTOR_TENANTS=tenants)


def test_certificates_for_notifications_come_in_pairs_and_newest_first() -> None:
    key_pem = "-----BEGIN PRIVATE KEY-----\\nAA\\n-----END PRIVATE KEY-----"
    old, new = (f"-----BEGIN CERTIFICATE-----\\n{name}\\n-----END CERTIFICATE-----" for name in ("OLD", "NEW"))
    listed = {"GRAPH_NOTIFICATION_CERTIFICATES": f"{key_pem}\\n{new}\\n{key_pem}\\n{old}\\n"}
    loaded = settings.load(PRODUCTION | listed).graph_notification_certificates
    assert [("NEW" in pair, "OLD" in pair) for pair in loaded] == [(True, False), (False, True)]
    for wrong in key_pem, new, "x":
        assert "GRAPH_NOTIFICATION_CERTIFICATES" in refused(PRODUCTION, GRAPH_NOTIFICATION_CERTIFICATES=wrong)


def test_the_signing_key_is_named_by_its_address_without_a_version() -> None:
    address = "https://kv-visits.vault.azure.net/keys/smart"
    assert settings.load(PRODUCTION).smart_vault_key is None
    assert settings.load(PRODUCTION | {"SMART_VAULT_KEY": address}).smart_vault_key == address
    for wrong in (f"{address}/9885aa558e8d448789683188f8c194b0", "https://kv-visits.vault.azure.net/secrets/smart",
                  "https://kv-visits.vault.azure.net", f"{address}/", "https://kv.example/keys/a_b"):
        told = refused(PRODUCTION, SMART_VAULT_KEY=wrong)
        assert told == "SMART_VAULT_KEY must be a key's address without a version, https://VAULT/keys/NAME"


def test_call_events_are_beta_unless_said_otherwise() -> None:
    for value, version in ("", "beta"), ("beta", "beta"), ("v1.0", "v1.0"):
        loaded = settings.load(PRODUCTION | {"GRAPH_SUBSCRIPTIONS_VERSION": value})
        assert loaded.graph_subscriptions_version == version
    assert "GRAPH_SUBSCRIPTIONS_VERSION" in refused(PRODUCTION, GRAPH_SUBSCRIPTIONS_VERSION="v2")


def test_a_reference_to_the_vault_that_azure_could_not_follow_is_no_secret() -> None:
    lost = "@Microsoft.KeyVault(SecretUri=https://kv.vault.azure.net/secrets/smart-private-keys)"
    with pytest.raises(SettingsError) as refused:
        settings.load(PRODUCTION | {"SMART_PRIVATE_KEYS": lost, "CONNECTOR_SEALING_KEYS": lost})
    says = "points to a secret that is not in the vault, or that the app's identity may not read"
    assert str(refused.value) == f"CONNECTOR_SEALING_KEYS {says}; SMART_PRIVATE_KEYS {says}"
