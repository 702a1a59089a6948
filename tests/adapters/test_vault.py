"""A key in the vault signs in the stamp's name: at the token endpoint, while it is rotated, and when it may not."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path

import jwt
import pytest

from connector.adapters import identity, vault
from connector.adapters.cerner import Cerner, EhrClient, SigningKey, VaultSigner
from connector.adapters.cerner.signing import SETTLED_S
from connector.adapters.vault import VaultKey
from connector.errors import PermanentError, TransientError
from connector.regions import Region
from connector.settings import RegionSettings
from sandbox import vault as simulated_vault
from sandbox.cast import HOSPITALS, NORDLYS
from sandbox.cerner import clients
from sandbox.vault import HEADER, Vault
from sandbox.world import Ports, World
from tests.adapters.cerner_world import RSA_PEM, Simulated
from tests.adapters.serving import listening, shown
from tests.adapters.simulated import without_waiting

OLD, YOUNG = SETTLED_S + 3600, SETTLED_S - 3600
CLAIMS = {"iss": "client", "aud": "https://a.example/token"}
STAMP = RegionSettings(Region.EMEA, None, None, None, "identity-1", None, None)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Vault, str]]:
    """The vault with its managed identity, which azure-identity finds as in Azure."""
    folder: Path = tmp_path_factory.mktemp("vault")
    kept = Vault(World(HOSPITALS, Ports(**dict.fromkeys((port.name for port in fields(Ports)), 9)), folder / "clock"))
    with listening(simulated_vault.create_app(kept)) as port, pytest.MonkeyPatch.context() as patch:
        patch.setenv("IDENTITY_ENDPOINT", f"http://127.0.0.1:{port}/msi/token")
        patch.setenv("IDENTITY_HEADER", HEADER)
        yield kept, f"http://127.0.0.1:{port}"


@pytest.fixture
def kept(served: tuple[Vault, str]) -> Vault:
    there = served[0]
    there.world.reset()
    there.versions.clear()
    there.actions, there.firewall = {"read", "sign"}, False
    return there


@pytest.fixture
def new_signer(kept: Vault, served: tuple[Vault, str]) -> Callable[..., VaultSigner]:
    def make(*former: SigningKey, name: str = "smart") -> VaultSigner:
        key = VaultKey(f"{served[1]}/keys/{name}", identity.tokens(STAMP, vault.SCOPE, "vault"))
        without_waiting(key)
        return VaultSigner(key, former)

    return make


def kids(signer: VaultSigner) -> list[str]:
    return [one["kid"] for one in signer.published()]


def kid(signer: VaultSigner) -> str:
    """Which key signs; the signature is good under what is published of it."""
    jws = signer.jws(CLAIMS)
    header = jwt.get_unverified_header(jws)
    public = next(one for one in signer.published() if one["kid"] == header["kid"])
    assert jwt.decode(jws, jwt.PyJWK(public).key, algorithms=[public["alg"]], audience=CLAIMS["aud"]) == CLAIMS
    assert (header["alg"], header["typ"]) == (public["alg"], "JWT")
    return str(header["kid"])


@pytest.mark.parametrize("size", [0, 2048])
def test_the_token_endpoint_takes_what_the_vault_signed(
    kept: Vault, new_signer: Callable[..., VaultSigner], simulated: Simulated, cerner: Cerner, size: int
) -> None:
    kept.add(size=size)
    signer = new_signer()
    simulated.published[:] = signer.published()
    client = EhrClient(clients.SMART_SYSTEM_CLIENT_ID, signing_key=signer)
    base = simulated.base(NORDLYS)
    assert cerner.system_token(base, client, "system/Appointment.rs")
    assert cerner.system_token(base, client, "system/Appointment.rs", renew=True)  # remembered: the client is equal
    assert kept.world.requests["vault", "sign"] == 1
    assert kept.world.requests["vault", "identity_token"] == 1
    assert kept.world.requests["vault", "key_versions"] == kept.world.requests["vault", "key"] == 1
    kept.versions.clear()
    kept.add(size=size)  # published nowhere
    with pytest.raises(PermanentError, match=r"cerner\.invalid_client"):
        cerner.system_token(base, EhrClient(client.client_id, signing_key=new_signer()), "system/Appointment.rs")


def test_what_is_published_is_public_and_named_by_its_thumbprint(
    kept: Vault, new_signer: Callable[..., VaultSigner]
) -> None:
    kept.add()
    [jwk] = new_signer().published()
    assert set(jwk) == {"kty", "crv", "x", "y", "kid", "alg", "use"}
    assert (jwk["kty"], jwk["crv"], jwk["alg"], jwk["use"]) == ("EC", "P-384", "ES384", "sig")
    members = json.dumps({name: jwk[name] for name in ("crv", "kty", "x", "y")}, sort_keys=True, separators=(",", ":"))
    assert jwt.utils.base64url_encode(hashlib.sha256(members.encode()).digest()).decode() == jwk["kid"]
    assert new_signer().published() == [jwk]


def test_a_new_version_is_published_a_day_before_it_signs(kept: Vault, new_signer: Callable[..., VaultSigner]) -> None:
    first = kept.add(age_s=400 * OLD)
    assert kids(new_signer()) == [old := kid(new_signer())]
    second = kept.add(age_s=YOUNG)
    signer = new_signer()
    assert kid(signer) == old
    young, *others = kids(signer)
    assert others == [old] != [young]
    second.created -= 7200
    assert kid(new_signer()) == young
    assert kids(new_signer()) == [young, old], "what the former one signed is still believed"
    kept.add(age_s=10)
    kept.add(age_s=20)
    signer = new_signer()
    assert kid(signer) == young
    assert kids(signer)[2:] == [young, old] and len(kids(signer)) == 4
    second.enabled = False
    assert kid(new_signer()) == old
    first.enabled = False
    signer = new_signer()
    assert kid(signer) == kids(signer)[-1], "of those that nobody may know yet, the one known longest"
    assert not {young, old} & set(kids(signer))


def test_the_order_does_not_depend_on_who_asks(kept: Vault, new_signer: Callable[..., VaultSigner]) -> None:
    versions = [kept.add(age_s=OLD) for _ in range(5)]  # in pages of two, all of the same second
    for one in versions:
        one.created = versions[0].created
    expected = kids(new_signer())
    kept.versions.reverse()
    assert kids(new_signer()) == expected and kid(new_signer()) == expected[0]


def test_a_version_that_is_switched_off_is_left_at_once(kept: Vault, new_signer: Callable[..., VaultSigner]) -> None:
    kept.add(age_s=9 * OLD)
    leaked = kept.add(age_s=OLD)
    signer = new_signer()
    before = kid(signer)
    leaked.enabled = False
    assert kid(signer) != before
    assert before not in kids(signer)


def test_keys_of_the_settings_sign_until_the_vaults_key_is_known(
    kept: Vault, new_signer: Callable[..., VaultSigner]
) -> None:
    held = SigningKey.from_pem(RSA_PEM)
    made = kept.add(age_s=YOUNG)
    signer = new_signer(held)
    assert kid(signer) == held.public.kid
    assert kids(signer)[1:] == [held.public.kid] and len(kids(signer)) == 2
    made.created -= 7200
    signer = new_signer(held)
    assert kid(signer) == kids(signer)[0] != held.public.kid
    made.enabled = False
    assert kid(signer) == held.public.kid


@pytest.mark.parametrize(("fault", "code"), [("429", "vault.throttled"), ("500", "vault.unavailable")])
def test_a_vault_that_is_away_is_tried_three_times_then_the_caller_may_try_again(
    kept: Vault, new_signer: Callable[..., VaultSigner], fault: str, code: str
) -> None:
    kept.add(age_s=OLD)
    signer = new_signer()
    signer.published()
    kept.world.add_fault("vault", fault, 2)
    assert kid(signer)
    kept.world.add_fault("vault", fault, 3)
    with pytest.raises(TransientError) as failed:
        signer.jws(CLAIMS)
    assert failed.value.code == code
    assert "127.0.0.1" not in shown(failed.value) and "ey" not in shown(failed.value)
    assert kid(signer)


def test_published_keys_outlive_an_outage(
    kept: Vault, new_signer: Callable[..., VaultSigner], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.add(age_s=OLD)
    signer = new_signer()
    known = signer.published()
    monkeypatch.setattr("connector.adapters.vault.KEPT_S", 0.0)  # from the next reading on
    signer.vault.versions(again=True)
    kept.world.add_fault("vault", "500", 3)
    assert signer.published() == known
    asked = kept.world.requests["vault", "key_versions"]
    assert signer.published() == known
    assert kept.world.requests["vault", "key_versions"] == asked, "it is left alone for a minute"
    with pytest.raises(TransientError, match=r"vault\.unreachable"):
        key = VaultKey("http://127.0.0.1:9/keys/smart", lambda: "token")
        without_waiting(key)
        key.versions()


def test_a_missing_permission_is_named_and_not_tried_again(
    kept: Vault, new_signer: Callable[..., VaultSigner], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="connector")
    kept.add(age_s=OLD)
    signer = new_signer()
    signer.published()
    kept.actions = {"read"}
    assert refused(lambda: signer.jws(CLAIMS)) == ("vault.not_allowed", 403, "ForbiddenByRbac")
    assert "vault.failed code=vault.not_allowed vendor_status=403 vendor_code=ForbiddenByRbac" in caplog.text
    assert kept.world.requests["vault", "sign"] == 1
    kept.actions = set()
    assert refused(new_signer().published) == ("vault.not_allowed", 403, "ForbiddenByRbac")
    kept.actions, kept.firewall = {"read", "sign"}, True
    assert refused(new_signer().published) == ("vault.not_allowed", 403, "ForbiddenByFirewall")
    kept.firewall = False
    assert refused(new_signer(name="other").published) == ("vault.key_missing", 404, "KeyNotFound")
    kept.versions[0].enabled = False
    assert refused(new_signer().published) == ("vault.key_missing", None, None)


def test_an_identity_without_a_token_asks_the_vault_nothing(
    kept: Vault, new_signer: Callable[..., VaultSigner], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.add()
    monkeypatch.setenv("IDENTITY_HEADER", "another")
    signer = new_signer()
    assert refused(signer.published) == ("vault.not_allowed", None, None)
    assert kept.world.requests["vault", "key_versions"] == 0
    signer = VaultSigner(VaultKey(signer.vault._address, lambda: "no-token"))
    assert refused(signer.published) == ("vault.not_allowed", 401, "Unauthorized")


def test_a_key_that_no_ehr_would_take_is_refused(kept: Vault, new_signer: Callable[..., VaultSigner]) -> None:
    kept.add(size=1024)
    assert refused(new_signer().published)[0] == "vault.unusable_key"


def refused(act: Callable[[], object]) -> tuple[str, int | None, str | None]:
    with pytest.raises(PermanentError) as error:
        act()
    assert "Caller" not in shown(error.value) and "127.0.0.1" not in shown(error.value)
    return error.value.code, error.value.vendor_status, error.value.vendor_code
