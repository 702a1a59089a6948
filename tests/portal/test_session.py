"""The portal's session through the running app: how it begins, what it needs at every request, how it ends."""

import json
import re
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import pytest
import requests
from azure.data.tables import UpdateMode

from connector.keys import encode
from connector.portal import session
from connector.portal.session import PortalSession
from sandbox.cast import HARBOR, NORDLYS
from tests.running import Browser, Live

ADMIN, ORDINARY = HARBOR.users
COOKIE = "__Host-portal"
MESSAGES = "/portal/messages/{}"


@pytest.fixture
def browser(live: Live) -> Iterator[Browser]:
    """Finds no session and leaves none behind."""
    for hospital in ("harbor", "nordlys"):
        live.tables[live.world.hospitals[hospital].region].create_table_if_not_exists("Sessions")
        forget(live, hospital)
    yield Browser(live)
    for hospital in ("harbor", "nordlys"):
        forget(live, hospital)


@pytest.fixture
def admin(browser: Browser) -> Browser:
    assert browser.sign_in(ADMIN.oid).status_code == 303
    return browser


def forget(live: Live, hospital: str) -> None:
    table = live.table("Sessions", hospital)
    for row in list(table.list_entities()):
        if row["RowKey"].startswith("portal."):
            table.delete_entity(row)


def rows(live: Live) -> list[dict[str, Any]]:
    return [dict(row) for row in live.table("Sessions").list_entities() if row["RowKey"].startswith("portal.")]


def held(live: Live, browser: Browser) -> PortalSession:
    request = type("Request", (), {"headers": {"Cookie": f"{COOKIE}={browser.cookies[COOKIE]}"}})()
    found = session.held(request, live.sealer)
    assert found is not None
    return found


def wear(live: Live, browser: Browser, who: PortalSession) -> None:
    """Another cookie of our own making."""
    sealed = live.sealer.seal(json.dumps(asdict(who)).encode(), region=None, purpose="cookie.portal")
    browser.cookies[COOKIE] = encode(sealed)


def age(live: Live, **columns: Any) -> None:
    table = live.table("Sessions")
    for row in rows(live):
        table.update_entity({**row, **columns}, mode=UpdateMode.MERGE)


def to_sign_in(answer: requests.Response) -> bool:
    return answer.status_code == 303 and "/portal/signin?" in answer.headers["Location"]


def form_of(page: requests.Response) -> str:
    return re.findall(r'name="form" value="([^"]+)"', page.text)[0]


# it begins


def test_nothing_is_stored_of_who_signed_in_but_the_object_id(live: Live, admin: Browser) -> None:
    (row,) = rows(live)
    assert row["PartitionKey"] == HARBOR.tid
    assert set(row) == {"PartitionKey", "RowKey", "object_id", "seen", "expires"} and row["object_id"] == ADMIN.oid
    assert admin.cookies[COOKIE] not in str(row) and held(live, admin).id not in str(row)


def test_the_cookie_is_for_this_host_alone_and_not_for_scripts(live: Live, browser: Browser) -> None:
    back = browser.microsoft(ADMIN.oid)
    sent = {"Cookie": "; ".join(f"{name}={value}" for name, value in browser.cookies.items())}
    answer = requests.get(back, headers=sent, allow_redirects=False, timeout=30)
    line = next(one for one in answer.raw.headers.getlist("Set-Cookie") if one.startswith(f"{COOKIE}="))
    for part in "path=/", "secure", "httponly", "samesite=lax":
        assert part in line.lower()


def test_somebody_without_a_role_has_no_row(live: Live, browser: Browser) -> None:
    browser.sign_in(ORDINARY.oid)
    assert browser.get("/portal").status_code == 403
    assert rows(live) == []


@pytest.mark.parametrize("to", ["/portal/region", "/portal?x=1", f"/portal/messages/{'a' * 9}"])
def test_after_signing_in_one_is_where_one_wanted_to_be(live: Live, browser: Browser, to: str) -> None:
    begun = browser.get(to)
    assert to_sign_in(begun)
    back = browser.microsoft(ADMIN.oid, begun.headers["Location"].removeprefix(live.app))
    assert browser.get(back).headers["Location"] == live.app + to


@pytest.mark.parametrize("to", ["//evil.example", "https://evil.example", "/portal/../x", "/portal\\evil", "/api/v1"])
def test_nobody_is_sent_elsewhere(live: Live, browser: Browser, to: str) -> None:
    begun = browser.microsoft(ADMIN.oid, requests.Request("GET", "http://x/portal/signin", params={"to": to})
                              .prepare().path_url)
    assert browser.get(begun).headers["Location"] == f"{live.app}/portal"


def test_two_tabs_sign_in_at_once(live: Live, browser: Browser) -> None:
    first, second = browser.microsoft(ADMIN.oid), browser.microsoft(ADMIN.oid)
    assert browser.get(first).status_code == browser.get(second).status_code == 303
    assert browser.get("/portal").status_code == 200
    assert len(rows(live)) == 1, "the second takes the place of the first"


def test_a_sign_in_that_began_elsewhere_or_long_ago(live: Live, browser: Browser) -> None:
    back = browser.microsoft(ADMIN.oid)
    ((name, flow),) = browser.cookies.items()
    for cookie in None, "", "x", flow[:-2], flow + "A":
        browser.cookies = {name: cookie} if cookie is not None else {}
        page = browser.get(back)
        assert page.status_code == 400 and "Please sign in again" in page.text
        assert COOKIE not in browser.cookies
    for change in ("state=", "state=x"), ("state=", "other="), ("code=", "state=x&code="):
        browser.cookies = {name: flow}
        assert browser.get(back.replace(*change)).status_code == 400
    browser.cookies = {name: flow}
    assert browser.get(back).status_code == 303
    browser.cookies = {name: flow}
    page = browser.get(back)
    assert page.status_code == 400 and "loaded twice" in page.text


def test_a_user_who_declines_and_entra_that_is_down(live: Live, browser: Browser) -> None:
    page = browser.get(browser.microsoft("none"))
    assert page.status_code == 403 and "Sign-in was not allowed" in page.text and "AADSTS65004" in page.text
    back = browser.microsoft(ADMIN.oid)
    with live.down("entra"):
        page = browser.get(back)
    assert page.status_code == 503 and "Please try again in a moment" in page.text
    assert COOKIE not in browser.cookies


# it counts


def test_a_forged_or_damaged_cookie_is_none(live: Live, admin: Browser) -> None:
    good = admin.cookies[COOKIE]
    for cookie in "x", "A" * 200, good[:-2] + "AA", good + "A":
        admin.cookies[COOKIE] = cookie
        assert to_sign_in(admin.get("/portal"))
    admin.cookies[COOKIE] = good
    assert admin.get("/portal").status_code == 200


def test_a_cookie_counts_only_while_its_row_stands(live: Live, admin: Browser) -> None:
    who = held(live, admin)
    for changed in replace(who, id="x" * 43), replace(who, stored=False), replace(who, tenant_id=NORDLYS.tid):
        wear(live, admin, changed)
        assert to_sign_in(admin.get("/portal")), changed
    wear(live, admin, who)
    assert admin.get("/portal").status_code == 200


def test_half_an_hour_without_use_ends_it(live: Live, browser: Browser) -> None:
    began = int(time.time())
    browser.sign_in(ADMIN.oid)
    assert began + 1800 <= rows(live)[0]["expires"] <= time.time() + 1800
    age(live, expires=int(time.time()) - 1)
    assert to_sign_in(browser.get("/portal"))


def test_use_keeps_it_but_not_beyond_eight_hours(live: Live, admin: Browser) -> None:
    now = int(time.time())
    age(live, seen=now - 1200, expires=now + 600)
    assert admin.get("/portal").status_code == 200
    assert rows(live)[0]["expires"] > now + 1700
    who = held(live, admin)
    wear(live, admin, replace(who, until=now + 100))
    age(live, seen=now - 1200)
    assert admin.get("/portal").status_code == 200
    assert rows(live)[0]["expires"] == now + 100
    wear(live, admin, replace(who, until=now - 1))
    assert to_sign_in(admin.get("/portal"))


def test_roles_are_named_again_every_half_hour_without_a_prompt(
    live: Live, admin: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    who = held(live, admin)
    old = replace(who, proven_at=int(time.time()) - session.ROLES_FRESH_S - 1)
    wear(live, admin, old)
    begun = admin.get("/portal")
    assert to_sign_in(begun) and "why=roles" in begun.headers["Location"]
    asked = admin.get(begun.headers["Location"])
    assert "prompt=none" in asked.headers["Location"]
    back = requests.get(asked.headers["Location"], allow_redirects=False, verify=live.ca, timeout=30)
    assert admin.get(back.headers["Location"]).headers["Location"] == f"{live.app}/portal"
    renewed = held(live, admin)
    assert (renewed.id, renewed.until) == (who.id, who.until) and renewed.roles_age_s < 60
    assert admin.get("/portal").status_code == 200 and len(rows(live)) == 1
    # and whoever lost the role in the meantime loses the session
    wear(live, admin, old)
    ousted = replace(HARBOR, users=(replace(ADMIN, wids=()), *HARBOR.users[1:]))
    monkeypatch.setitem(live.world.hospitals, "harbor", ousted)
    asked = admin.get(admin.get("/portal").headers["Location"])
    back = requests.get(asked.headers["Location"], allow_redirects=False, verify=live.ca, timeout=30)
    admin.get(back.headers["Location"])
    assert admin.get("/portal").status_code == 403
    assert rows(live) == []


def test_when_microsoft_wants_to_ask_it_may(live: Live, admin: Browser) -> None:
    who = held(live, admin)
    wear(live, admin, replace(who, proven_at=1, username="somebody.else@example.org"))
    asked = admin.get(admin.get("/portal").headers["Location"])
    back = requests.get(asked.headers["Location"], allow_redirects=False, verify=live.ca, timeout=30)
    assert "login_required" in back.headers["Location"]
    visible = admin.get(back.headers["Location"])
    assert to_sign_in(visible) and "why" not in visible.headers["Location"]


# forms


def test_a_form_needs_our_own_page_and_its_value(live: Live, admin: Browser) -> None:
    path = MESSAGES.format(live.connection_id())
    form = form_of(admin.get(path))
    good = {"do": "nothing", "etag": "x"}
    for headers in {"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}, {}:
        answer = admin.send("POST", path, headers=headers, data={**good, "form": form})
        assert answer.status_code == 403 and "Not from our page" in answer.text
    other = Browser(live)
    other.sign_in(NORDLYS.users[0].oid)
    for value in None, "", "x", form[:-1], held(live, other).form:
        answer = admin.post(path, data=good | ({} if value is None else {"form": value}))
        assert answer.status_code == 403 and "Please open the page again" in answer.text
    assert "not complete" in admin.post(path, data={**good, "form": form}).text


def test_a_form_sent_after_the_session_ended_keeps_what_was_typed(live: Live, admin: Browser) -> None:
    path = MESSAGES.format(live.connection_id())
    typed = {"do": "settings", "text": "Clinic “Nord” <b>", "secret_key": "hunter2", "form": form_of(admin.get(path))}
    age(live, expires=1)
    page = admin.post(path, data=typed)
    assert page.status_code == 401 and "Send the form again" in page.text
    assert "Clinic “Nord” &lt;b&gt;" in page.text and "hunter2" not in page.text
    admin.sign_in(ADMIN.oid)
    assert admin.post(path, data={**typed, "do": "nothing"}).status_code == 400, "the old form's value still serves"
    # a form of somebody else is not shown to whoever sits here now
    admin.sign_in(NORDLYS.users[0].oid)
    forget(live, "nordlys")
    page = admin.post(path, data=typed)
    assert page.status_code == 401 and "Nord” &lt;b&gt;" not in page.text


def test_a_change_is_made_on_roles_of_the_last_hour(live: Live, admin: Browser) -> None:
    path = MESSAGES.format(live.connection_id())
    form = form_of(admin.get(path))
    who = held(live, admin)
    for seconds, status in (session.ROLES_LAST_S - 30, 400), (session.ROLES_LAST_S + 1, 401):
        wear(live, admin, replace(who, proven_at=int(time.time()) - seconds))
        assert admin.post(path, data={"do": "nothing", "form": form}).status_code == status


def test_a_reader_reads_and_changes_nothing(live: Live, browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = replace(ORDINARY, roles=("Connector.Read",))
    monkeypatch.setitem(live.world.hospitals, "harbor", replace(HARBOR, users=(ADMIN, reader)))
    browser.sign_in(reader.oid)
    path = MESSAGES.format(live.connection_id())
    page = browser.get(path)
    assert page.status_code == 200 and "<button class=\"button primary\">" not in page.text
    form = held(live, browser).form
    refused = browser.post(path, data={"do": "pause", "etag": "x", "form": form})
    assert refused.status_code == 403 and "Connector.Configure" in refused.text


# it ends


def test_signing_out_ends_the_session_and_not_the_cookie_alone(live: Live, admin: Browser) -> None:
    kept = admin.cookies[COOKIE]
    foreign = admin.send("POST", "/portal/signout", headers={"Sec-Fetch-Site": "cross-site"})
    assert foreign.status_code == 403 and admin.get("/portal").status_code == 200
    assert admin.post("/portal/signout").headers["Location"] == f"{live.app}/"
    assert COOKIE not in admin.cookies and rows(live) == []
    admin.cookies[COOKIE] = kept
    assert to_sign_in(admin.get("/portal"))


def test_signing_out_everywhere(live: Live, admin: Browser) -> None:
    elsewhere = Browser(live)
    elsewhere.sign_in(ADMIN.oid)
    assert len(rows(live)) == 2
    table = live.table("Sessions")
    foreign = {**rows(live)[0], "RowKey": "portal.of-a-colleague", "object_id": ADMIN.oid[:-1] + "0"}
    table.create_entity(foreign)
    elsewhere.post("/portal/signout", data={"everywhere": "1"})
    assert to_sign_in(admin.get("/portal"))
    assert [row["RowKey"] for row in rows(live)] == ["portal.of-a-colleague"]


# who they are, once more


def confirm(browser: Browser) -> requests.Response:
    return browser.get(browser.microsoft(ADMIN.oid, "/portal/signin?why=confirm&to=/portal/region"))


def test_a_repeated_sign_in_is_proven_by_its_time(live: Live, admin: Browser) -> None:
    asked = admin.get("/portal/signin?why=confirm").headers["Location"]
    assert "prompt=login" in asked and "max_age=0" in asked
    assert not held(live, admin).confirmed
    assert confirm(admin).headers["Location"] == f"{live.app}/portal/region"
    who = held(live, admin)
    assert who.confirmed and len(rows(live)) == 1
    assert not replace(who, confirmed_at=int(time.time()) - session.CONFIRMED_S).confirmed


@pytest.mark.parametrize("mischief", ["stale_auth_time", "no_auth_time"])
def test_a_sign_in_that_was_not_repeated_confirms_nothing(live: Live, admin: Browser, mischief: str) -> None:
    with live.mischief(mischief):
        assert confirm(admin).status_code == 403
    assert not held(live, admin).confirmed


def test_another_account_confirms_nothing(live: Live, admin: Browser) -> None:
    page = admin.get(admin.microsoft(NORDLYS.users[0].oid, "/portal/signin?why=confirm"))
    assert page.status_code == 403 and "another account" in page.text
    assert admin.get("/portal").status_code == 200 and not held(live, admin).confirmed
