"""What the API can do with a connection, from its making to its deletion; lists in pages; too many requests."""

from __future__ import annotations

from typing import Any

import azure.functions as func
import pytest

from connector import clock, launch, tenants
from connector.ehr import EhrUser
from connector.messages import brakes
from connector.portal.api.limits import Limiter
from sandbox.azurite import Azurite
from tests.portal.calling import Api, told
from tests.tenants.stamp import BASE, agree, build, connected, pinned, tenant_id

WANTED = {"name": "Live", "environment": "production", "fhir_base_url": BASE, "clinic_name": "Clinic",
          "contact_phone": "+13122346700"}
DEPARTMENT = {"name": "Family Medicine", "location_ids": ["1"], "time_zone": "America/Chicago"}


class Admin:
    """One tenant's automation: asks, and keeps the connection's version."""

    def __init__(self, azurite: Azurite, limiter: Limiter | None = None) -> None:
        self.services, self.scope = pinned(azurite)
        self.api = Api(self.services, limiter)

    def ask(self, method: str, path: str, body: Any = None, *, etag: str | None = None,
            status: int = 200) -> func.HttpResponse:
        answer = self.api.call(self.scope.tenant_id, method, path, body, etag)
        assert answer.status_code == status, answer.get_body()
        return answer


@pytest.fixture
def admin(azurite: Azurite) -> Admin:
    return Admin(azurite)


def made(admin: Admin) -> tuple[str, str]:
    """A connection that is ready to send: its address and version."""
    answer = admin.ask("POST", "/connections", WANTED, status=201)
    one = f"/connections/{told(answer)['id']}"
    assert answer.headers["Location"].endswith(f"/api/v1{one}")
    sender = admin.ask("POST", "/senders", {"kind": "alphanumeric", "value": "Harbor", "label": "x"}, status=201)
    etag = admin.ask("PUT", f"{one}/departments", [DEPARTMENT], etag=answer.headers["ETag"]).headers["ETag"]
    etag = admin.ask("PUT", f"{one}/sender", {"sender_id": told(sender)["id"]}, etag=etag).headers["ETag"]
    return one, etag


def test_asked_twice_nothing_is_made_twice(admin: Admin) -> None:
    one, _ = made(admin)
    assert told(admin.ask("POST", "/connections", WANTED, status=409))["errors"].keys() == {"fhir_base_url"}
    admin.ask("POST", "/senders", {"kind": "alphanumeric", "value": "Harbor", "label": "y"}, status=409)
    missing = told(admin.ask("GET", "/consents"))["missing"]
    versions = {consent["kind"]: consent["version"] for consent in missing}
    first, second = (told(admin.ask("PUT", "/consents", versions)) for _ in range(2))
    assert first == second and first["missing"] == [] and len(first["given"]) == 2
    assert len(told(admin.ask("GET", "/connections"))["items"]) == 1
    assert told(admin.ask("GET", one))["fhir_base_url"] == BASE


def test_a_sender_is_unlinked_only_while_nothing_is_texted_from_it(admin: Admin) -> None:
    agree(admin.scope)
    one, etag = made(admin)
    etag = admin.ask("PATCH", one, {"messages_enabled": True}, etag=etag).headers["ETag"]
    refused = told(admin.ask("PUT", f"{one}/sender", {"sender_id": None}, etag=etag, status=422))
    assert "switch them off first" in refused["errors"]["sender_id"]
    etag = admin.ask("PATCH", one, {"messages_enabled": False}, etag=etag).headers["ETag"]
    assert told(admin.ask("PUT", f"{one}/sender", {"sender_id": None}, etag=etag))["sender_id"] is None
    assert told(admin.ask("GET", "/history?limit=1"))["items"][0]["action"] == "connection.sender_unlinked"
    sender = told(admin.ask("GET", "/senders"))["items"][0]["id"]
    version = admin.ask("GET", f"/senders/{sender}").headers["ETag"]
    admin.ask("DELETE", f"/senders/{sender}", etag=version, status=204)


def test_withdrawn_consents_stop_even_a_worker_that_has_the_old_configuration(admin: Admin) -> None:
    agree(admin.scope)
    one, etag = made(admin)
    admin.ask("PATCH", one, {"messages_enabled": True}, etag=etag)
    known = tenants.connection(admin.scope, one.rpartition("/")[2]).value
    assert not brakes.read(admin.scope, known, clock.now()).all_stopped
    assert told(admin.ask("GET", "/consents/consequences")) == {"connections": 1, "planned_messages": 0}
    left = told(admin.ask("DELETE", "/consents"))
    assert left["given"] == [] and {consent["kind"] for consent in left["missing"]} == {"send_sms", "patients_agreed"}
    assert brakes.read(admin.scope, known, clock.now()).all_stopped == "off"
    assert told(admin.ask("GET", one))["messages_enabled"] is False
    actions = [change["action"] for change in told(admin.ask("GET", "/history"))["items"]]
    assert actions.count("consent.withdrawn") == 2


def test_a_restored_switch_begins_messages_with_a_silent_baseline(admin: Admin) -> None:
    agree(admin.scope)
    one, etag = made(admin)
    etag = admin.ask("PATCH", one, {"messages_enabled": True}, etag=etag).headers["ETag"]
    on = told(admin.ask("GET", f"/history?target={one.rpartition('/')[2]}&limit=1"))["items"][0]
    assert {"path": "messages_enabled", "before": False, "after": True} in on["fields"]
    connection = tenants.connection(admin.scope, one.rpartition("/")[2]).value
    now = clock.now()
    brakes.baselined(admin.scope, connection, now.date(), now)  # the first complete scan of today
    assert not brakes.read(admin.scope, connection, now, scanning=True).silent(now.date(), "Family Medicine")
    etag = admin.ask("PATCH", one, {"messages_enabled": False}, etag=etag).headers["ETag"]
    assert brakes.peek(admin.scope, connection).off
    restored = admin.ask("POST", f"{one}/history/{on['id']}/restore", etag=etag)
    assert told(restored)["messages_enabled"]
    state = brakes.read(admin.scope, connection, now, scanning=True)
    assert state.silent(now.date(), "Family Medicine"), "what was booked meanwhile is not told"


def test_credentials_are_written_and_never_read(admin: Admin) -> None:
    one, etag = made(admin)
    secret = {"client_id": "ours", "client_secret": "a-good-secret-of-ours"}
    answer = admin.ask("PUT", f"{one}/credentials/provider", secret, etag=etag)
    shown = told(answer)["credentials"]["provider"]
    assert (shown["client_id"], shown["has_secret"], shown["method"]) == ("ours", True, "client_secret_basic")
    key = admin.ask("PUT", f"{one}/credentials/system", {"client_id": "ours", "method": "private_key_jwt"},
                    etag=answer.headers["ETag"])
    records = told(admin.ask("GET", f"{one}/integration-records"))
    assert records["provider"]["client_id"] == "ours"
    assert records["system"]["jwks_url"].endswith(f"{one.replace('connections', 'launch')}/jwks.json")
    everything = [answer, key]
    everything += [admin.ask("GET", path) for path in (one, "/connections", "/history", "/configuration")]
    assert not any(b"a-good-secret-of-ours" in one.get_body() or b'"d"' in one.get_body() for one in everything)
    gone = admin.ask("DELETE", f"{one}/credentials/provider", etag=key.headers["ETag"])
    assert list(told(gone)["credentials"]) == ["system"]
    admin.ask("PUT", f"{one}/credentials/admin", secret, etag=gone.headers["ETag"], status=404)
    wrong = admin.ask("PUT", f"{one}/credentials/provider", {**secret, "client_secret": "SMART_PROVIDER_CLIENT_SECRET"},
                      etag=gone.headers["ETag"], status=422)
    assert list(told(wrong)["errors"]) == ["client_secret"] and b"SMART_" not in wrong.get_body()


def test_a_connection_is_deleted_after_it_was_said_what_goes(admin: Admin) -> None:
    one, etag = made(admin)
    launch.add_link(admin.scope, one.rpartition("/")[2], EhrUser("https://ehr.example", "Practitioner/1"), "oid")
    assert told(admin.ask("GET", f"{one}/consequences"))["user_links"] == 1
    admin.ask("DELETE", one, status=428)
    admin.ask("DELETE", one, etag='W/"older"', status=412)
    assert admin.ask("DELETE", one, etag=etag, status=204).get_body() == b""
    for path in one, f"{one}/consequences", f"{one}/integration-records", f"{one}/messages/status":
        assert told(admin.ask("GET", path, status=404))["code"] == "connection.unknown"
    admin.ask("POST", "/connections", WANTED, status=201)


def test_a_configuration_is_taken_out_and_brought_in(admin: Admin) -> None:
    one, _ = made(admin)
    exported = admin.ask("GET", "/configuration")
    file, etag = told(exported), exported.headers["ETag"]
    file["connections"][0]["name"] = "Renamed"
    admin.ask("PUT", "/configuration", file, status=428)
    dry = told(admin.ask("PUT", "/configuration?dry_run=true", file, etag=etag))
    assert dry["connections"][0]["fields"] == [{"path": "name", "before": "Live", "after": "Renamed"}]
    assert told(admin.ask("GET", one))["name"] == "Live"
    admin.ask("PUT", "/configuration?dry_run=yes", file, etag=etag, status=422)
    assert told(admin.ask("PUT", "/configuration", file, etag=etag))["connections"][0]["outcome"] == "changed"
    assert told(admin.ask("GET", one))["name"] == "Renamed"
    assert told(admin.ask("PUT", "/configuration", file, etag=etag, status=412))["code"] == "connection.conflict"
    etag = admin.ask("GET", "/configuration").headers["ETag"]
    wrong = admin.ask("PUT", "/configuration", {**file, "file_version": 9}, etag=etag, status=422)
    assert told(wrong)["code"] == "import.unknown_version"


def test_each_kind_of_text_can_be_looked_at_before_it_is_sent(admin: Admin) -> None:
    one, _ = made(admin)
    shown = told(admin.ask("GET", f"{one}/messages/previews"))["previews"]
    assert set(shown) == {"confirmation", "reminder", "change", "cancellation"}
    assert all("Clinic" in kind["text"] and kind["segments"] >= 1 for kind in shown.values())
    cancelled = "{clinic}: not on {date} {time} {zone}. Call {phone}"
    own = {"channels": ["sms", "email"], "texts": {"cancellation": cancelled}}
    other = told(admin.ask("POST", f"{one}/messages/previews", own))
    assert "Clinic: not on" in other["previews"]["cancellation"]["text"]
    assert "Clinic" in other["emails"]["confirmation"]["subject"] + other["emails"]["confirmation"]["text"]
    admin.ask("POST", f"{one}/messages/previews", {"texts": {"reminder": "{who}"}}, status=422)
    assert told(admin.ask("GET", f"{one}/messages/previews"))["previews"] == shown, "nothing was saved"


def test_dates_of_what_takes_weeks_are_noted(admin: Admin) -> None:
    one, _ = made(admin)
    empty = admin.ask("GET", f"{one}/checklist")
    dates = {"steps": {"oracle_review": {"begun_on": "2026-11-02", "expected_on": "2026-12-14", "done_on": None}}}
    noted = admin.ask("PUT", f"{one}/checklist", dates, etag=empty.headers["ETag"])
    assert told(noted) == told(admin.ask("GET", f"{one}/checklist")) == dates
    admin.ask("PUT", f"{one}/checklist", {"steps": {}}, etag=empty.headers["ETag"], status=412)
    assert told(admin.ask("PUT", f"{one}/checklist", {"steps": {}}, etag=noted.headers["ETag"])) == {"steps": {}}


def test_a_link_and_a_sender_are_removed(admin: Admin) -> None:
    one, etag = made(admin)
    launch.add_link(admin.scope, one.rpartition("/")[2], EhrUser("https://ehr.example", "Practitioner/1"), "oid")
    [link] = told(admin.ask("GET", f"{one}/user-links"))["items"]
    admin.ask("DELETE", f"{one}/user-links/{link['id']}", status=204)
    admin.ask("DELETE", f"{one}/user-links/{link['id']}", status=404)
    [sender] = told(admin.ask("GET", "/senders"))["items"]
    version = admin.ask("GET", f"/senders/{sender['id']}").headers["ETag"]
    assert told(admin.ask("DELETE", f"/senders/{sender['id']}", etag=version, status=409))["code"] == "sender.linked"
    renamed = admin.ask("PATCH", f"/senders/{sender['id']}", {"label": "Desk"}, etag=version)
    assert told(renamed)["label"] == "Desk"
    admin.ask("DELETE", one, etag=etag, status=204)
    admin.ask("DELETE", f"/senders/{sender['id']}", etag=renamed.headers["ETag"], status=204)


def test_lists_come_in_pages_whose_marks_are_good_for_that_list_alone(admin: Admin, azurite: Azurite) -> None:
    for number in range(5):
        connected(admin.services, admin.scope, name=f"Number {number}", fhir_base_url=f"{BASE}-{number}")
    for path in "/connections", "/history":
        seen, mark = list[str](), ""
        while True:
            page = told(admin.ask("GET", f"{path}?limit=2&continuation={mark}" if mark else f"{path}?limit=2"))
            assert len(page["items"]) <= 2
            seen += [item["id"] for item in page["items"]]
            if not page["continuation"]:
                break
            mark = page["continuation"]
        assert len(seen) == len(set(seen)) == 5
    mark = told(admin.ask("GET", "/connections?limit=2"))["continuation"]
    other = Admin(azurite)
    for who, path in (other, f"/connections?continuation={mark}"), (admin, f"/history?continuation={mark}"), (
            admin, f"/connections?continuation={mark[:-2]}AA"), (admin, "/connections?continuation=x"):
        assert list(told(who.ask("GET", path, status=422))["errors"]) == ["continuation"]
    for limit in "0", "201", "-1", "x", "1.5", "٣", "99999999999999999999", "2%00":
        assert list(told(admin.ask("GET", f"/connections?limit={limit}", status=422))["errors"]) == ["limit"]


def test_a_tenant_that_asks_too_often_waits_and_the_others_do_not(azurite: Azurite) -> None:
    now = 1000.0
    limiter = Limiter(burst=40, each_second=2.0, now=lambda: now)
    admin = Admin(azurite, limiter)
    for _ in range(40):
        admin.ask("GET", "/tenant")
    refused = admin.ask("GET", "/tenant", status=429)
    assert refused.headers["Retry-After"] == "1" and refused.mimetype == "application/problem+json"
    assert told(refused)["retry"] is True and "1 seconds" in told(refused)["detail"]
    stranger = tenant_id()
    build(azurite, stranger)
    assert admin.api.call(stranger, "GET", "/tenant").status_code == 404
    now += 1
    admin.ask("GET", "/tenant")
    admin.ask("GET", "/tenant")
    admin.ask("GET", "/tenant", status=429)
    now += 3600
    admin.ask("POST", "/connections/azzzzzzzz/checks", status=404)  # one that asks the vendors counts thirty
    refused = admin.ask("POST", "/connections/azzzzzzzz/checks", status=429)
    assert refused.headers["Retry-After"] == "11"


def test_a_tenant_without_a_region_is_told_so(azurite: Azurite) -> None:
    fresh = tenant_id()
    api = Api(build(azurite, fresh))
    answer = api.call(fresh, "GET", "/connections")
    assert (answer.status_code, told(answer)["code"]) == (404, "tenant.unknown")
    assert api.call(fresh, "PUT", "/tenant", {"region": "apac"}).status_code == 201
    assert api.call(fresh, "PUT", "/tenant", {"region": "apac"}).status_code == 200
    assert told(api.call(fresh, "GET", "/connections")) == {"items": [], "continuation": None}
