"""The simulated FHIR server answers as Millennium documents it, refusals included."""

import copy
import re
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import phonenumbers
import pytest
import requests

from sandbox.cast import HOSPITALS
from sandbox.cerner import appointments
from sandbox.world import Hospital
from tests.sandbox import cerner as servers
from tests.sandbox.cerner import Cerner
from tests.sandbox.host_process import eventually

VMR = (
    "/contained/0/telecom/0/value",
    "/contained/1/telecom/0/value",
    "/contained/0/telecom/0/period/start",
    "/contained/0/telecom/0/period/end",
)
LINKS = (
    "https://connector.example/p/1",
    "https://connector.example/j/1",
    "2026-03-04T15:00:00.000Z",
    "2026-03-04T15:30:00.000Z",
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cerner]:
    folder: Path = tmp_path_factory.mktemp("cerner")
    with servers.serve(folder) as served:
        yield served


@pytest.fixture
def cerner(server: Cerner) -> Cerner:
    server.world.reset()
    appointments.populate(server.world)
    return server


@pytest.fixture(scope="module")
def token(server: Cerner) -> str:
    return server.system_token("harbor")


def window(cerner: Cerner, days: int = 7) -> list[tuple[str, str]]:
    now = cerner.world.now()
    return [
        ("date", f"ge{now - timedelta(days=1):%Y-%m-%dT00:00:00Z}"),
        ("date", f"lt{now + timedelta(days=days):%Y-%m-%dT00:00:00Z}"),
    ]


def rows(response: requests.Response) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.text
    return [entry["resource"] for entry in response.json().get("entry", [])]


def harbor_location(department: int = 0) -> str:
    return ",".join(HOSPITALS[0].departments[department].location_ids)


def room_links(appointment: dict[str, Any]) -> dict[str, str]:
    return {room["type"][0]["text"]: room["telecom"][0]["value"] for room in appointment["contained"]}


@pytest.mark.parametrize("hospital", HOSPITALS, ids=lambda hospital: hospital.key)
def test_the_cast_can_be_searched_for_without_false_hits(cerner: Cerner, hospital: Hospital) -> None:
    ids = [resource_id for h in HOSPITALS for _, resource_id in cerner.world.resources[h.ehr_tenant]]
    values = [*ids, *(p.mrn for h in HOSPITALS for p in h.patients)]
    assert len(set(values)) == len(values)
    assert all(len(value) >= 8 and value.isdecimal() for value in values)
    assert not [a for a in values for b in values if a != b and a in b]
    for person in hospital.patients:
        for number in (person.mobile, person.home_phone, person.expired_phone):
            assert phonenumbers.is_valid_number(phonenumbers.parse(number))


@pytest.mark.parametrize("hospital", HOSPITALS, ids=lambda hospital: hospital.key)
def test_the_week_holds_every_kind_of_visit(cerner: Cerner, hospital: Hospital) -> None:
    kept = cerner.world.resources[hospital.ehr_tenant]
    found = [row for (kind, _), row in kept.items() if kind == "Appointment"]
    zone = ZoneInfo(hospital.time_zone)
    today = cerner.world.now().astimezone(zone).date().isoformat()
    assert {row["status"] for row in found} == {"booked", "cancelled", "fulfilled", "noshow"}
    assert {row["description"] for row in found} == {"Video Visit", "Telehealth Follow Up", "Office Visit"}
    native = [row for row in found if "contained" in row]
    assert all(re.fullmatch(r"\d+-\d+", row["meta"]["versionId"]) for row in native)
    assert any(p["actor"] is None for row in found for p in row["participant"])
    assert any("reference" not in (p["actor"] or {}) for row in found for p in row["participant"])
    linked = [
        row["appointment"][0]["reference"].partition("/")[2]
        for (kind, _), row in kept.items()
        if kind == "Encounter" and "appointment" in row
    ]
    start = datetime.fromisoformat(kept["Appointment", linked[0]]["start"])
    assert start.astimezone(zone).date().isoformat() == today


@pytest.mark.parametrize("persona", ["provider", "patient"])
def test_discovery_needs_no_token_and_hides_the_release(cerner: Cerner, persona: str) -> None:
    base = cerner.base("nordlys", persona)
    statement = requests.get(f"{base}/metadata", timeout=30).json()
    assert statement["fhirVersion"] == "4.0.1"
    assert "software" not in statement
    offered = {r["type"]: {i["code"] for i in r["interaction"]} for r in statement["rest"][0]["resource"]}
    assert ("patch" in offered["Appointment"]) == (persona == "provider")
    configuration = cerner.discovered("nordlys", persona)
    assert f"/personas/{persona}/authorize" in configuration["authorization_endpoint"]
    assert ("context-ehr-encounter" in configuration["capabilities"]) == (persona == "provider")
    assert (
        requests.get(base.replace(HOSPITALS[1].ehr_tenant, "nobody") + "/metadata", timeout=30).status_code
        == 403
    )


def test_searches_are_sorted_and_paged_by_opaque_absolute_links(cerner: Cerner, token: str) -> None:
    asked = [("location", harbor_location()), ("_count", "4"), *window(cerner)]
    whole = rows(
        cerner.get("harbor", "Appointment", token, params=[*asked[:1], ("_count", "100"), *asked[2:]])
    )
    assert [row["start"] for row in whole] == sorted(row["start"] for row in whole)
    page = cerner.get("harbor", "Appointment", token, params=asked).json()
    collected = [entry["resource"]["id"] for entry in page["entry"]]
    while links := [link["url"] for link in page["link"] if link["relation"] == "next"]:
        assert links[0].startswith(f"{cerner.base('harbor')}/Appointment?-pageContext=")
        page = requests.get(links[0], headers={"Authorization": f"Bearer {token}"}, timeout=30).json()
        collected += [entry["resource"]["id"] for entry in page["entry"]]
    assert collected == [row["id"] for row in whole]
    assert "total" not in page


@pytest.mark.parametrize(
    "query",
    [
        [("status", "booked")],
        [("location", "21570461")],
        [("location", "21570461"), ("date", "2026-01-01")],
        [("location", "21570461"), ("date", "ge2026-01-01")],
        [("location", "21570461"), ("date", "ge2026-01-01T00:00:00Z"), ("date", "ge2026-01-02T00:00:00Z")],
        [("location", "21570461"), ("location", "21570462"), ("date", "ge2026-01-01T00:00:00Z")],
        [("location", "21570461"), ("patient", "13207741"), ("date", "ge2026-01-01T00:00:00Z")],
        [("location", "21570461"), ("date", "ge2026-01-01T00:00:00Z"), ("_sort", "date")],
        [("location", "21570461"), ("date", "ge2026-01-01T00:00:00Z"), ("_count", "many")],
        [("-pageContext", "invented")],
    ],
)
def test_undocumented_searches_are_refused(cerner: Cerner, token: str, query: list[tuple[str, str]]) -> None:
    response = cerner.get("harbor", "Appointment", token, params=query)
    assert response.status_code == 400
    assert response.json()["issue"][0]["code"] == "invalid"


def test_an_id_list_needs_no_date_and_a_practitioner_does(cerner: Cerner, token: str) -> None:
    clinician = HOSPITALS[0].clinicians[0].practitioner_id
    found = rows(
        cerner.get(
            "harbor",
            "Appointment",
            token,
            params=[("practitioner", clinician), ("status", "cancelled"), *window(cerner)],
        )
    )
    assert [row["status"] for row in found] == ["cancelled"]
    assert "slot" not in found[0]
    assert found[0]["cancelationReason"]["coding"][0]["code"] == "0"
    ids = ",".join(row["id"] for row in found)
    assert rows(cerner.get("harbor", "Appointment", token, params={"_id": f"{ids},1"})) == found


def test_patients_are_found_as_untidy_as_registered(cerner: Cerner, token: str) -> None:
    people = HOSPITALS[0].patients
    found = rows(
        cerner.get(
            "harbor", "Patient", token, params={"_id": f"{people[0].patient_id},{people[1].patient_id}"}
        )
    )
    assert [row["id"] for row in found] == [people[0].patient_id, people[1].patient_id]
    assert "extension" not in found[0]
    assert found[1]["extension"][0]["url"].endswith("/communication-preference")
    first = found[0]["telecom"][0]
    assert (first["value"], first["use"], first["rank"]) == (people[0].expired_phone, "mobile", 1)
    assert first["period"]["end"] < cerner.world.now().isoformat()
    by_name = rows(cerner.get("harbor", "Patient", token, params={"family": people[2].family[:4].lower()}))
    assert [row["id"] for row in by_name] == [people[2].patient_id]
    needed = cerner.get("harbor", "Patient", token, params={"gender": "female"})
    assert "at least one of _id, identifier, name" in needed.json()["issue"][0]["details"]["text"]


def test_only_json_is_served_and_only_with_a_token_of_this_tenant(cerner: Cerner, token: str) -> None:
    url = f"{cerner.base('harbor')}/Patient/{HOSPITALS[0].patients[0].patient_id}"
    headers = {"Authorization": f"Bearer {token}"}
    ok = requests.get(url, headers=headers, timeout=30)
    assert (ok.status_code, ok.headers["ETag"]) == (200, 'W/"3"')
    assert {"X-Request-Id", "opc-request-id"} <= set(ok.headers)
    xml = requests.get(url, headers=headers | {"Accept": "application/fhir+xml"}, timeout=30)
    assert (xml.status_code, xml.content) == (406, b"")
    without = requests.get(url, timeout=30)
    assert without.status_code == 401
    assert "token-required" in without.json()["message"]
    assert without.headers["WWW-Authenticate"].startswith("Bearer")
    other = requests.get(
        url, headers={"Authorization": f"Bearer {cerner.system_token('nordlys')}"}, timeout=30
    )
    assert other.status_code == 401
    missing = requests.get(f"{cerner.base('harbor')}/Patient/1", headers=headers, timeout=30)
    assert (missing.status_code, missing.json()["issue"][0]["code"]) == (404, "not-found")


def test_an_old_access_token_is_refused(cerner: Cerner) -> None:
    old = cerner.system_token("harbor")
    cerner.world.grants[old].expires = time.time() - 1
    assert cerner.get("harbor", "Location/21570461", old).status_code == 401


@pytest.mark.parametrize(
    ("hospital", "scope", "path", "status"),
    [
        ("harbor", "system/Patient.read", "Appointment?_id=1", 403),
        ("nordlys", "system/Appointment.r", "Appointment?_id=1", 403),
        ("nordlys", "system/Appointment.s", "Appointment?_id=1", 200),
        ("nordlys", "system/Appointment.s", "Appointment/1", 403),
    ],
)
def test_scopes_decide_in_cerners_own_words(
    cerner: Cerner, hospital: str, scope: str, path: str, status: int
) -> None:
    response = cerner.get(hospital, path, cerner.system_token(hospital, scope))
    assert response.status_code == status
    if status == 403:
        assert response.json()["code"] == 403
        assert "insufficient-scopes" in response.json()["message"]
        assert "resourceType" not in response.json()


def test_a_patient_sees_only_their_own_on_the_patient_host(cerner: Cerner) -> None:
    me, other = HOSPITALS[0].patients[:2]
    mine = cerner.launch(
        "harbor",
        "patient",
        me.key,
        scope="launch openid fhirUser patient/Appointment.read patient/Patient.read",
    )["access_token"]
    found = rows(
        cerner.get(
            "harbor", "Appointment", mine, "patient", params=[("patient", me.patient_id), *window(cerner)]
        )
    )
    assert found
    assert (
        rows(
            cerner.get(
                "harbor",
                "Appointment",
                mine,
                "patient",
                params=[("patient", other.patient_id), *window(cerner)],
            )
        )
        == []
    )
    assert cerner.get("harbor", f"Patient/{me.patient_id}", mine, "patient").status_code == 200
    assert cerner.get("harbor", f"Patient/{other.patient_id}", mine, "patient").status_code == 403
    assert cerner.get("harbor", f"Patient/{me.patient_id}", mine).status_code == 401


def patch(
    cerner: Cerner, token: str, row: dict[str, Any], operations: Any, version: str | None = "current"
) -> requests.Response:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json-patch+json"}
    if version is not None:
        headers["If-Match"] = f'W/"{row["meta"]["versionId"] if version == "current" else version}"'
    return requests.patch(
        f"{cerner.base('harbor')}/Appointment/{row['id']}", json=operations, headers=headers, timeout=30
    )


def links(op: str) -> list[dict[str, str]]:
    return [{"op": op, "path": path, "value": value} for path, value in zip(VMR, LINKS, strict=True)]


def booked(cerner: Cerner, kind: appointments.Kind = "native") -> dict[str, Any]:
    appointment_id = appointments.book(cerner.world, "harbor", "mira", start=cerner.world.now(), kind=kind)
    return current(cerner, appointment_id)


def current(cerner: Cerner, appointment_id: str) -> dict[str, Any]:
    return copy.deepcopy(cerner.world.resources[HOSPITALS[0].ehr_tenant]["Appointment", appointment_id])


def test_links_are_added_once_then_replaced_and_move_the_second_part_of_the_version(
    cerner: Cerner, token: str
) -> None:
    row = booked(cerner)
    assert row["meta"]["versionId"] == "1-0"
    assert patch(cerner, token, row, links("replace")).status_code == 422
    added = patch(cerner, token, row, links("add"))
    assert (added.status_code, added.content, added.headers["ETag"]) == (200, b"", 'W/"1-1"')
    row = current(cerner, row["id"])
    assert room_links(row) == {
        "Provider Virtual Meeting Room": LINKS[0],
        "Patient Virtual Meeting Room": LINKS[1],
    }
    assert row["contained"][0]["type"][0]["text"] == "Patient Virtual Meeting Room"
    assert patch(cerner, token, row, links("add")).status_code == 409
    assert patch(cerner, token, row, links("replace")).headers["ETag"] == 'W/"1-2"'


def test_wrong_patches_are_refused_as_documented(cerner: Cerner, token: str) -> None:
    row = booked(cerner)
    mixed = [*links("add")[:3], links("replace")[3]]
    long = [{**links("add")[0], "value": "https://connector.example/" + "x" * 255}, *links("add")[1:]]
    for operations, version, status in (
        (links("add"), None, 412),
        (links("add"), "0-9", 409),
        (mixed, "current", 422),
        (long, "current", 422),
        (links("add")[:3], "current", 422),
        ({"op": "add"}, "current", 400),
        ([{"op": "replace", "path": "/patientInstruction", "value": "x"}], "current", 422),
        ([{"op": "replace", "path": "/status", "value": "fulfilled"}], "current", 422),
    ):
        assert patch(cerner, token, row, operations, version).status_code == status
    assert patch(cerner, token, booked(cerner, "type"), links("add")).status_code == 422
    assert (
        patch(
            cerner, cerner.system_token("harbor", "system/Appointment.write"), row, links("add")
        ).status_code
        == 403
    )
    for name, status in (("locked", 423), ("dependency", 424)):
        cerner.world.mischief = {name}
        assert patch(cerner, token, row, links("add")).status_code == status
    assert current(cerner, row["id"]) == row


def test_a_patient_confirms_once_and_a_status_moves_forward(cerner: Cerner, token: str) -> None:
    row = booked(cerner)
    confirm = [{"op": "replace", "path": "/patient-status", "value": "accepted"}]
    assert patch(cerner, token, row, confirm).headers["ETag"] == 'W/"2-0"'
    assert patch(cerner, token, current(cerner, row["id"]), confirm).status_code == 422
    arrived = [{"op": "replace", "path": "/status", "value": "arrived"}]
    assert patch(cerner, token, current(cerner, row["id"]), arrived).headers["ETag"] == 'W/"3-0"'
    cancel = [{"op": "replace", "path": "/status", "value": "cancelled"}]
    assert patch(cerner, token, current(cerner, row["id"]), cancel).status_code == 200
    assert current(cerner, row["id"])["status"] == "cancelled"


def test_the_scheduling_desk_moves_and_cancels_with_rising_versions(cerner: Cerner, token: str) -> None:
    row = booked(cerner)
    later = cerner.world.now() + timedelta(hours=3)
    appointments.move(cerner.world, "harbor", row["id"], later)
    moved = rows(cerner.get("harbor", "Appointment", token, params={"_id": row["id"]}))[0]
    assert (moved["meta"]["versionId"], moved["start"]) == ("2-0", f"{later:%Y-%m-%dT%H:%M:%SZ}")
    appointments.cancel(cerner.world, "harbor", row["id"])
    cancelled = current(cerner, row["id"])
    assert (cancelled["meta"]["versionId"], cancelled["status"]) == ("3-0", "cancelled")
    assert [extension["valueBoolean"] for extension in cancelled["extension"]] == [False, False]


def test_faults_use_cerners_bodies_and_timeouts_stay_silent(cerner: Cerner, token: str) -> None:
    cerner.world.add_fault("cerner", "429", 1)
    throttled = cerner.get("harbor", "Location/21570461", token)
    assert (throttled.status_code, throttled.json()["issue"][0]["code"]) == (429, "throttled")
    cerner.world.add_fault("cerner", "500", 1)
    assert cerner.get("harbor", "Location/21570461", token).json()["resourceType"] == "OperationOutcome"
    row = booked(cerner)
    cerner.world.add_fault("cerner", "timeout_after_accept", 1)
    headers = {
        "Authorization": f"Bearer {token}",
        "Content-Type": "application/json-patch+json",
        "If-Match": 'W/"1-0"',
    }
    with pytest.raises(requests.ReadTimeout):
        requests.patch(
            f"{cerner.base('harbor')}/Appointment/{row['id']}",
            json=links("add"),
            headers=headers,
            timeout=0.5,
        )
    eventually(lambda: current(cerner, row["id"])["meta"]["versionId"] == "1-1")
    assert cerner.world.requests["cerner", "Appointment.patch"] == 1
    assert cerner.world.requests["cerner", "Location.read"] == 2


def test_bad_rows_and_repeats_come_only_when_asked(cerner: Cerner, token: str) -> None:
    asked = [("location", harbor_location()), ("_count", "3"), *window(cerner)]
    cerner.world.mischief = {"repeat_across_pages", "malformed_entry"}
    page = cerner.get("harbor", "Appointment", token, params=asked).json()
    assert page["entry"][0]["resource"]["start"] == 17
    following = requests.get(
        page["link"][1]["url"], headers={"Authorization": f"Bearer {token}"}, timeout=30
    ).json()
    assert following["entry"][0]["resource"]["id"] == page["entry"][2]["resource"]["id"]
    cerner.world.mischief = {"bad_row"}
    assert cerner.get("harbor", "Appointment", token, params=asked).status_code == 500
    cerner.world.mischief = {"malformed_json"}
    with pytest.raises(requests.JSONDecodeError):
        cerner.get("harbor", "Location/21570461", token).json()
