"""The simulated authorization server keeps Cerner's documented rules, and breaks them only when asked."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import jwt
import pytest
import requests

from tests.sandbox import cerner as servers
from tests.sandbox.cerner import CLIENT_IDS, REDIRECT, VERIFIER, Cerner


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cerner]:
    folder: Path = tmp_path_factory.mktemp("cerner")
    with servers.serve(folder) as served:
        yield served


@pytest.fixture
def cerner(server: Cerner) -> Iterator[Cerner]:
    yield server
    server.world.mischief.clear()
    server.world.trimmed_scopes.clear()


def read_id_token(cerner: Cerner, token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    keys = requests.get(cerner.discovered("harbor")["jwks_uri"], timeout=30).json()["keys"]
    header = jwt.get_unverified_header(token)
    key = next(jwt.PyJWK(one) for one in keys if one["kid"] == header["kid"])
    jwt.decode(token, key.key, algorithms=[key.algorithm_name], audience=claims["aud"])
    return claims


def query_of(response: requests.Response) -> dict[str, str]:
    assert response.status_code == 302
    assert response.headers["Location"].startswith(f"{REDIRECT}?")
    return {
        name: values[0] for name, values in parse_qs(urlsplit(response.headers["Location"]).query).items()
    }


@pytest.mark.parametrize(("hospital", "alg"), [("harbor", "RS256"), ("nordlys", "ES256")])
def test_a_provider_launch_ends_with_tokens_and_the_context_of_the_chart(
    cerner: Cerner, hospital: str, alg: str
) -> None:
    cast = cerner.world.hospitals[hospital]
    body = cerner.launch(hospital, patient=cast.patients[0].key)
    assert (body["token_type"], body["expires_in"], body["need_patient_banner"]) == ("Bearer", 570, True)
    assert body["patient"] == cast.patients[0].patient_id
    assert body["user"] == cast.clinicians[0].practitioner_id
    assert body["tenant"] == cast.ehr_tenant
    assert ("Encounter", body["encounter"]) in cerner.world.resources[cast.ehr_tenant]
    claims = read_id_token(cerner, body["id_token"])
    assert jwt.get_unverified_header(body["id_token"])["alg"] == alg
    assert claims["fhirUser"] == f"{cerner.base(hospital)}/Practitioner/{cast.clinicians[0].practitioner_id}"
    assert claims["nonce"] == "n1"
    found = requests.get(f"{claims['iss']}.well-known/openid-configuration", timeout=30).json()
    assert found["issuer"] == claims["iss"]


def test_a_chart_without_an_encounter_and_the_organizer_give_less_context(cerner: Cerner) -> None:
    cast = cerner.world.hospitals["harbor"]
    assert "encounter" not in cerner.launch("harbor", patient=cast.patients[1].key)
    assert "patient" not in cerner.launch("harbor")


def test_a_nonce_comes_back_only_when_it_was_asked(cerner: Cerner) -> None:
    assert "nonce" not in read_id_token(cerner, cerner.launch("harbor", nonce=None)["id_token"])


def test_a_patient_launch_knows_the_patient_only(cerner: Cerner) -> None:
    patient = cerner.world.hospitals["harbor"].patients[2]
    body = cerner.launch(
        "harbor",
        "patient",
        patient.key,
        scope="launch openid fhirUser patient/Appointment.read patient/Appointment.write",
    )
    assert body["patient"] == patient.patient_id
    assert body["scope"] == "launch openid fhirUser patient/Appointment.read"
    assert not {"user", "encounter", "refresh_token"} & body.keys()
    assert read_id_token(cerner, body["id_token"])["fhirUser"].endswith(f"/Patient/{patient.patient_id}")


@pytest.mark.parametrize(
    ("changes", "urn"),
    [
        ({"aud": None}, "launch:audience-required"),
        ({"aud": "http://127.0.0.1/r4/other"}, "launch:unknown-resource-server"),
        ({"launch": None}, "launch:code-required"),
        ({"launch": "invented"}, "launch:invalid-launch-code"),
        ({"code_challenge_method": "plain"}, "grant:invalid-request"),
        ({"response_type": "token"}, "grant:invalid-request"),
    ],
)
def test_a_wrong_authorize_request_goes_back_to_the_app_with_a_urn(
    cerner: Cerner, changes: dict[str, str | None], urn: str
) -> None:
    answer = query_of(cerner.authorize("harbor", **changes))
    assert (answer["error"], answer["state"]) == ("invalid_request", "s1")
    assert unquote(answer["error_uri"].split("/errors/")[1]).split("/instances/")[0].endswith(urn)
    assert "error_description" not in answer


@pytest.mark.parametrize("changes", [{"redirect_uri": f"{REDIRECT}/"}, {"client_id": CLIENT_IDS["patient"]}])
def test_an_untrusted_client_or_redirect_is_never_redirected(
    cerner: Cerner, changes: dict[str, str | None]
) -> None:
    answer = cerner.authorize("harbor", **changes)
    assert answer.status_code == 400
    assert "Location" not in answer.headers


def test_codes_and_launches_work_once_and_only_with_their_verifier(cerner: Cerner) -> None:
    def exchange(code: str, **form: str) -> requests.Response:
        return cerner.token(
            "harbor",
            **{
                "grant_type": "authorization_code",
                "code": code,
                "redirect_uri": REDIRECT,
                "code_verifier": VERIFIER,
            }
            | form,
        )

    code = query_of(cerner.authorize("harbor"))["code"]
    assert exchange(code).status_code == 200
    again = exchange(code)
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
    assert again.headers["Cerner-Correlation-ID"] in again.json()["error_uri"]
    for wrong in ({"code_verifier": "w" * 50}, {"redirect_uri": f"{REDIRECT}/"}):
        code = query_of(cerner.authorize("harbor"))["code"]
        assert exchange(code, **wrong).json()["error"] == "invalid_grant"


def test_a_refresh_keeps_its_refresh_token_and_returns_none(cerner: Cerner) -> None:
    first = cerner.launch("nordlys")
    fresh = cerner.token("nordlys", grant_type="refresh_token", refresh_token=first["refresh_token"]).json()
    assert fresh["access_token"] != first["access_token"]
    assert not {"refresh_token", "id_token"} & fresh.keys()


@pytest.mark.parametrize(("hospital", "other"), [("harbor", "v2"), ("nordlys", "v1")])
def test_only_the_registered_scope_syntax_is_granted(cerner: Cerner, hospital: str, other: str) -> None:
    assert (
        cerner.launch(hospital, scope=servers.SCOPES[other])["scope"]
        == "launch online_access openid fhirUser"
    )
    empty = cerner.token(hospital, "system", grant_type="client_credentials", scope=servers.SYSTEM[other])
    assert (empty.status_code, empty.json()["error"]) == (400, "invalid_scope")
    assert "empty-scopes" in empty.json()["error_uri"]


def test_trimmed_scopes_disappear_silently(cerner: Cerner) -> None:
    cerner.world.trimmed_scopes["harbor"] = {"user/Patient.read"}
    assert "user/Patient.read" not in cerner.launch("harbor")["scope"].split()


def test_each_hospital_takes_only_its_own_client_authentication(cerner: Cerner) -> None:
    endpoint = cerner.discovered("nordlys")["token_endpoint"]
    form = {"grant_type": "client_credentials", "scope": servers.SYSTEM["v2"]}
    basic = requests.post(endpoint, data=form, auth=(CLIENT_IDS["system"], "wrong"), timeout=30)
    assert basic.json()["error"] == "invalid_client"
    once = cerner.assertion(CLIENT_IDS["system"], endpoint)
    assert cerner.token("nordlys", "system", **form, client_assertion=once).status_code == 200
    assert (
        cerner.token("nordlys", "system", **form, client_assertion=once).json()["error"] == "invalid_client"
    )
    elsewhere = cerner.assertion(CLIENT_IDS["system"], "https://authorization.example/token")
    refused = cerner.token("nordlys", "system", **form, client_assertion=elsewhere)
    assert refused.json()["error"] == "invalid_client"


def test_denied_consent_comes_back_as_access_denied(cerner: Cerner) -> None:
    cerner.world.mischief.add("denied_consent")
    answer = query_of(cerner.authorize("harbor"))
    assert answer["error"] == "access_denied"
    assert "denied-by-user" in answer["error_uri"]


def test_rotated_keys_leave_the_old_id_token_unverifiable(cerner: Cerner) -> None:
    old = cerner.launch("harbor")["id_token"]
    cerner.world.mischief.add("rotate_keys")
    read_id_token(cerner, cerner.launch("harbor")["id_token"])
    with pytest.raises(StopIteration):
        read_id_token(cerner, old)


@pytest.mark.parametrize(
    "name", ["id_token_alg_none", "id_token_hs256", "id_token_bad_signature", "id_token_unknown_kid"]
)
@pytest.mark.parametrize("hospital", ["harbor", "nordlys"])
def test_a_spoiled_signature_does_not_verify(cerner: Cerner, name: str, hospital: str) -> None:
    cerner.world.mischief.add(name)
    token = cerner.launch(hospital)["id_token"]
    with pytest.raises((StopIteration, jwt.InvalidTokenError)):
        read_id_token(cerner, token)


@pytest.mark.parametrize(
    ("name", "claim"),
    [
        ("id_token_wrong_aud", "aud"),
        ("id_token_wrong_iss", "iss"),
        ("id_token_other_tenant", "iss"),
        ("id_token_wrong_nonce", "nonce"),
        ("id_token_other_fhir_user", "fhirUser"),
        ("id_token_expired", "exp"),
    ],
)
def test_a_spoiled_claim_differs_from_the_honest_one(cerner: Cerner, name: str, claim: str) -> None:
    honest = jwt.decode(cerner.launch("harbor")["id_token"], options={"verify_signature": False})
    cerner.world.mischief.add(name)
    spoiled = jwt.decode(cerner.launch("harbor")["id_token"], options={"verify_signature": False})
    if claim == "exp":
        assert spoiled["exp"] < honest["iat"]
    else:
        assert spoiled[claim] != honest[claim]


def test_a_missing_id_token_is_simply_absent(cerner: Cerner) -> None:
    cerner.world.mischief.add("id_token_missing")
    assert "id_token" not in cerner.launch("harbor")
