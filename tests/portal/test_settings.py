"""The settings of a connection as forms: what is saved, what is refused and where it says so, two people at once."""

import re
from collections.abc import Iterator

import pytest

from connector import tenants
from sandbox.cast import CEDAR, HARBOR, NORDLYS
from tests.portal.forms import fields, send, wrong
from tests.running import Browser, Live

ADMIN, SECOND, _ = CEDAR.users
SECRET = "own-secret-0a1b2c3d"


@pytest.fixture(scope="module")
def connection(live: Live) -> Iterator[str]:
    """A connection of a hospital that is used by these tests alone."""
    live.world.consented.add(CEDAR.tid)
    token = live.token("cedar")
    assert live.api("PUT", "/tenant", {"region": "americas"}, token=token).ok
    made = live.api("POST", "/connections", {
        "name": "Cedar", "environment": "production", "clinic_name": "Cedar Clinic", "contact_phone": "+17205550140",
        "fhir_base_url": live.world.ports.fhir_base(CEDAR.ehr_tenant)}, token=token)
    assert made.status_code == 201, made.text
    yield made.json()["id"]
    live.world.consented.discard(CEDAR.tid)
    present = live.api("GET", f"/connections/{made.json()['id']}", token=token)
    if present.ok:
        tenants.delete_connection(live.scope("cedar"), made.json()["id"], present.headers["ETag"], tenants.Actor("x"))


@pytest.fixture
def page(connection: str) -> str:
    return f"/portal/connections/{connection}"


@pytest.fixture
def admin(live: Live) -> Browser:
    made = Browser(live)
    made.sign_in(ADMIN.oid)
    return made


def stored(live: Live, connection: str) -> tenants.Connection:
    return tenants.connection(live.scope("cedar"), connection).value


@pytest.mark.parametrize(("tab", "changes", "saved"), [
    ("general", {"clinic_name": "Cedar “Ridge” <b>", "contact_phone": "+1 720 555 0141", "release_confirmed": "on"},
     {"clinic_name": "Cedar “Ridge” <b>", "contact_phone": "+1 720 555 0141", "release_confirmed": True}),
    ("general", {"release_confirmed": None, "patient_fhir_base_url": ""},
     {"release_confirmed": False, "patient_fhir_base_url": None}),
    ("meetings", {"organizers": f"{CEDAR.organizers[0].upn.upper()}\n", "join_opens_minutes": "45"},
     {"organizers": [CEDAR.organizers[0].oid], "join_opens_minutes": 45}),
    ("visits", {"video_visit_types": "2581749611, 2581749645"}, {"video_visit_types": list(CEDAR.video_visit_types)}),
    ("access", {"scopes_version": "v2", "write_back": "on", "framers": "https://embedded.example/"},
     {"scopes_version": "v2", "write_back": True, "framers": ["https://embedded.example"]}),
    ("access", {"scopes_version": "v1", "write_back": None, "framers": ""},
     {"scopes_version": "v1", "write_back": False, "framers": []}),
])
def test_what_is_typed_is_saved(live: Live, admin: Browser, page: str, tab: str, changes: dict[str, str | None],
                                saved: dict[str, object]) -> None:
    answer = send(admin, f"{page}/{tab}", **changes)
    assert (answer.status_code, answer.headers["Location"]) == (303, f"{live.app}{page}/{tab}?saved=1"), answer.text
    found = stored(live, page.rpartition("/")[2])
    assert {name: getattr(found, name) for name in saved} == saved
    shown = admin.get(f"{page}/{tab}?saved=1").text
    assert "Saved." in shown and "<b>" not in shown


@pytest.mark.parametrize(("tab", "changes", "faults"), [
    ("general", {"name": "", "contact_phone": "call us", "patient_fhir_base_url": "ftp://x"},
     {"name", "contact_phone", "patient_fhir_base_url"}),
    ("general", {"clinic_name": "x" * 81}, {"clinic_name"}),
    ("meetings", {"organizers": "nobody@cedarridge.example\nnot-an-id", "join_closes_minutes": "soon"}, {"organizers"}),
    ("meetings", {"organizers": "not-an-id", "join_closes_minutes": "soon"}, {"organizers", "join_closes_minutes"}),
    ("meetings", {"organizers": HARBOR.organizers[0].upn}, {"organizers"}),
    ("visits", {"video_visit_types": "ok\n/etc/passwd"}, {"video_visit_types"}),
    ("access", {"framers": "https://a.example\nhttps://b.example; script-src *", "scopes_version": "v9"},
     {"framers", "scopes_version"}),
])
def test_each_wrong_field_says_so_and_keeps_what_was_typed(
    live: Live, admin: Browser, page: str, tab: str, changes: dict[str, str], faults: set[str]
) -> None:
    before = stored(live, page.rpartition("/")[2])
    answer = send(admin, f"{page}/{tab}", **changes)
    assert answer.status_code == 422 and set(wrong(answer)) == faults, answer.text
    kept = fields(answer.text, f'<form method="post" action="{page}/{tab}')
    texts = {name: value for name, value in changes.items() if name != "scopes_version"}
    assert {name: kept[name] for name in texts} == texts
    for name in faults:
        assert re.search(f'id="f-{name}"[^>]* aria-invalid="true" aria-describedby="[^"]*f-{name}-wrong"', answer.text)
        assert f'href="#f-{name}"' in answer.text, "the summary leads to the field"
    assert 'role="alert"' in answer.text and "autofocus" in answer.text
    assert stored(live, before.id) == before


def test_departments_are_added_looked_up_and_taken_away(live: Live, admin: Browser, page: str) -> None:
    path, locations = f"{page}/departments", CEDAR.departments[0].location_ids
    bad = send(admin, path, **{"departments.0.name": "Primary Care", "departments.0.location_ids": "a b, ok",
                               "departments.0.time_zone": "Mars/Olympus"})
    assert bad.status_code == 422
    assert set(wrong(bad)) == {"departments.0.location_ids", "departments.0.time_zone"}
    assert "entry 1" in wrong(bad)["departments.0.location_ids"] and 'value="Mars/Olympus"' in bad.text
    more = send(admin, path, do="more", **{"departments.0.name": "Primary Care"})
    assert more.status_code == 200 and "departments.1.name" in more.text and 'value="Primary Care"' in more.text
    good = {"departments.0.name": "Primary Care", "departments.0.location_ids": ", ".join([*locations, "99999999"]),
            "departments.0.time_zone": "America/Denver"}
    assert send(admin, path, **good).status_code == 303
    (made,) = stored(live, page.rpartition("/")[2]).departments
    assert (made.name, made.time_zone) == ("Primary Care", "America/Denver")
    assert made.location_ids == [*locations, "99999999"]
    shown = admin.get(path).text
    assert "Primary Care A" in shown and "Unknown to Cerner" in shown
    with live.down("cerner"):
        assert "Cerner does not answer at the moment" in admin.get(path).text
    assert send(admin, path, **{"departments.0.location_ids": ", ".join(locations)}).status_code == 303
    sample = admin.get(f"{page}/visits?sample=1").text
    assert 'name="type.' in sample and "Telehealth" in sample
    emptied = dict.fromkeys(good, "")
    assert send(admin, path, **emptied).status_code == 303
    assert stored(live, page.rpartition("/")[2]).departments == []


def test_a_secret_is_written_and_never_shown(live: Live, admin: Browser, page: str) -> None:
    path = f"{page}/credentials/system"
    for typed in "short", "SMART_SYSTEM_CLIENT_SECRET", "@Microsoft.KeyVault(SecretUri=x)", "":
        answer = send(admin, path, client_id="own-client", method="client_secret_basic",
                      **{"secret.client_secret": typed})
        assert answer.status_code == 422 and list(wrong(answer)) == ["secret.client_secret"]
        assert 'value="own-client"' in answer.text and (not typed or typed not in answer.text)
    saved = send(admin, path, client_id="own-client", method="client_secret_basic", **{"secret.client_secret": SECRET})
    assert saved.headers["Location"] == f"{live.app}{page}/access?saved=1"
    everywhere = "".join(admin.get(at).text for at in (
        path, f"{page}/access", f"{page}/history", "/portal/history", "/portal/export/configuration.json"))
    assert "own-client" in everywhere and SECRET not in everywhere
    key = send(admin, path, client_id="own-client", method="private_key_jwt")
    assert key.status_code == 303
    shown = admin.get(path).text
    assert "Public key" in shown and "&#34;d&#34;" not in shown
    assert send(admin, path, do="remove").status_code == 303
    assert stored(live, page.rpartition("/")[2]).credentials == {}
    assert admin.get(f"{page}/credentials/root").status_code == 404


def test_two_at_once(live: Live, admin: Browser, page: str) -> None:
    """The second sees what the first changed, keeps what they typed, and may save it over that."""
    other = Browser(live)
    other.sign_in(SECOND.oid)
    path = f"{page}/general"
    opened = fields(admin.get(path).text, f'<form method="post" action="{path}')
    assert send(other, path, clinic_name="Changed by the second").status_code == 303
    late = admin.post(path, data=opened | {"clinic_name": "Typed by the first"})
    assert late.status_code == 412
    assert "Somebody else saved while you were typing" in late.text and SECOND.name in late.text
    assert "Changed by the second" in late.text and 'value="Typed by the first"' in late.text
    assert stored(live, page.rpartition("/")[2]).clinic_name == "Changed by the second"
    again = fields(late.text, f'<form method="post" action="{path}')
    assert again["etag"] != opened["etag"]
    assert admin.post(path, data=again).status_code == 303
    assert stored(live, page.rpartition("/")[2]).clinic_name == "Typed by the first"


def test_an_earlier_version_comes_back(live: Live, admin: Browser, page: str) -> None:
    assert send(admin, f"{page}/general", clinic_name="Before").status_code == 303
    assert send(admin, f"{page}/general", clinic_name="Afterwards").status_code == 303
    shown = admin.get(f"{page}/history").text
    assert "In force now" in shown and "Before" in shown and "Afterwards" in shown and ADMIN.name in shown
    sent = fields(shown, f'<form method="post" action="{page}/history', last=False)
    assert admin.post(f"{page}/history", data=sent | {"version": "1"}).status_code == 404
    assert admin.post(f"{page}/history", data=sent).status_code == 303
    assert stored(live, page.rpartition("/")[2]).clinic_name == "Before"
    assert "Earlier version restored" in admin.get("/portal/history").text


def test_dates_of_what_takes_weeks(live: Live, admin: Browser, page: str) -> None:
    path = f"{page}/checklist"
    backwards = {"steps.oracle_review.begun_on": "2026-12-01", "steps.oracle_review.done_on": "2026-11-01"}
    bad = send(admin, path, **backwards, **{"steps.test_visit.done_on": "tomorrow"})
    assert bad.status_code == 422 and set(wrong(bad)) >= {"steps.test_visit.done_on"}
    assert 'value="2026-12-01"' in bad.text
    bad = send(admin, path, **backwards)
    assert wrong(bad) == {"steps.oracle_review.done_on": "was done before it was begun"}
    opened = fields(admin.get(path).text)
    assert send(admin, path, **{"steps.records_entered.done_on": "2026-11-20"}).status_code == 303
    late = admin.post(path, data=opened | {"steps.oracle_review.begun_on": "2026-11-21"})
    assert late.status_code == 412 and 'value="2026-11-21"' in late.text
    assert "Enter the integration records in Cerner" not in admin.get("/portal").text.partition("Next:")[2][:200]
    assert "Dates noted" in admin.get(f"{page}/history").text


def test_the_configuration_out_and_in(live: Live, admin: Browser, page: str) -> None:
    file = admin.get("/portal/export/configuration.json")
    assert "attachment" in file.headers["Content-Disposition"]
    assert file.text == admin.get("/portal/export/configuration.json").text
    name = stored(live, page.rpartition("/")[2]).clinic_name
    changed = file.text.replace(name, "Imported <i>")
    no_phone = changed.replace('"contact_phone": "', '"contact_phone": "call ')
    for bad in "{", "[]", '{"file_version": 2, "connections": []}', no_phone:
        answer = send(admin, "/portal/export", document=bad, do="preview")
        assert answer.status_code == 422 and "Please check this again" in answer.text, bad
    seen = send(admin, "/portal/export", document=changed, do="preview")
    assert seen.status_code == 200 and "nothing is written yet" in seen.text and "Imported &lt;i&gt;" in seen.text
    assert stored(live, page.rpartition("/")[2]).clinic_name == name
    sent = fields(seen.text, '<form method="post" action="/portal/export')
    assert send(admin, f"{page}/general", contact_phone="+17205550149").status_code == 303
    late = admin.post("/portal/export", data=sent | {"do": "import"})
    assert late.status_code == 412 and "Imported &lt;i&gt;" in late.text
    seen = send(admin, "/portal/export", document=changed, do="preview")
    again = fields(seen.text, '<form method="post" action="/portal/export')
    done = admin.post("/portal/export", data=again | {"do": "import"})
    assert done.status_code == 200, done.text
    assert stored(live, page.rpartition("/")[2]).clinic_name == "Imported <i>"


def test_a_number_is_linked_and_unlinked(live: Live, admin: Browser, page: str) -> None:
    identity, path = page.rpartition("/")[2], "/portal/setup/link"
    wanted = tenants.SenderInput(kind="alphanumeric", value="Cedar", label="Clinic")
    sender = tenants.add_sender(live.scope("cedar"), wanted, tenants.Actor(ADMIN.oid))
    shown = fields(admin.get(path).text)
    assert shown[f"sender.{identity}"] == sender.id, "with one number nothing has to be chosen"
    for chosen, kept in (sender.id, sender.id), ("", None):
        assert send(admin, path, **{f"sender.{identity}": chosen}).status_code == 303
        assert stored(live, identity).sender_id == kept
    unknown = send(admin, path, **{f"sender.{identity}": "ffffffff"})
    assert unknown.status_code == 409 and "names no sender" in wrong(unknown)[f"sender.{identity}"]
    assert "Phone number unlinked" in admin.get(f"{page}/history").text
    gone = tenants.versioned_sender(live.scope("cedar"), sender.id)
    tenants.remove_sender(live.scope("cedar"), sender.id, gone.etag, tenants.Actor(ADMIN.oid))


def test_switching_off_and_on_again(live: Live, admin: Browser, page: str) -> None:
    path = f"{page}/remove"
    shown = admin.get(path).text
    assert ("video visit" in shown and "is planned" in shown) or "are planned" in shown
    off = fields(shown, f'<form method="post" action="{path}', last=False)
    assert admin.post(path, data=off | {"do": "off"}).status_code == 303
    assert stored(live, page.rpartition("/")[2]).active is False
    on = fields(admin.get(path).text, f'<form method="post" action="{path}', last=False)
    assert admin.post(path, data=on | {"do": "on"}).status_code == 303
    assert stored(live, page.rpartition("/")[2]).active is True


def test_messages_that_cannot_be_switched_on_say_what_is_missing_and_where(
    live: Live, admin: Browser, page: str
) -> None:
    path = page.replace("/connections/", "/messages/")
    form = fields(admin.get(path).text, f'<form method="post" action="{path}', last=False)
    refused = admin.post(path, data=form | {"do": "on"})
    assert refused.status_code == 422
    said = dict(re.findall(r'<li><a href="([^"]*)">[^<]*</a>: ([^<]*)</li>', refused.text))
    assert said == {"/portal/setup/link": "link one first", f"{page}/departments": "add a department first",
                    "/portal/setup/sms": "agree to this first"}


def test_a_form_that_does_not_say_what_to_do_does_nothing(live: Live, admin: Browser, page: str) -> None:
    before = tenants.connection(live.scope("cedar"), page.rpartition("/")[2])
    sent = fields(admin.get(f"{page}/remove").text, f'<form method="post" action="{page}/remove', last=False)
    for path in f"{page}/remove", "/portal/numbers":
        for do in "", "x":
            assert admin.post(path, data=sent | {"do": do}).status_code == 400
    assert tenants.connection(live.scope("cedar"), page.rpartition("/")[2]) == before


def test_what_cannot_be_taken_back_needs_a_repeated_sign_in(live: Live, admin: Browser, page: str) -> None:
    path = f"{page}/remove"
    assert "Confirm who you are first" in admin.get(path).text
    sent = fields(admin.get(path).text, f'<form method="post" action="{path}')
    name = stored(live, page.rpartition("/")[2]).name
    refused = admin.post(path, data=sent | {"do": "delete", "confirm": name})
    assert refused.status_code == 303 and "why=confirm" in refused.headers["Location"]
    assert stored(live, page.rpartition("/")[2])
    admin.get(admin.microsoft(ADMIN.oid, f"/portal/signin?why=confirm&to={path}"))
    shown = admin.get(path).text
    assert "Delete permanently" in shown
    sent = fields(shown, f'<form method="post" action="{path}')
    bad = admin.post(path, data=sent | {"do": "delete", "confirm": "Something else"})
    assert bad.status_code == 422 and list(wrong(bad)) == ["confirm"]
    assert admin.post("/portal/numbers", data={"form": sent["form"], "do": "buy"}).status_code == 422


# whoever has no business here

TABS = ("", "/general", "/departments", "/visits", "/meetings", "/access", "/credentials/system", "/records",
        "/records.json", "/checklist", "/selftest", "/links", "/history", "/remove")


def paths(connection: str) -> list[str]:
    return [f"/portal/connections/{connection}{tab}" for tab in TABS] + [f"/portal/messages/{connection}"]


@pytest.mark.parametrize("method", ["get", "post"])
def test_another_tenants_connection_is_not_there(live: Live, connection: str, method: str) -> None:
    stranger = Browser(live)
    stranger.sign_in(HARBOR.users[0].oid)
    form = fields(stranger.get("/portal/setup/link").text)["form"]
    before = tenants.connection(live.scope("cedar"), connection)
    for path in paths(connection) + paths("azzzzzzzz") + paths("..%2f..%2fx"):
        answer = stranger.get(path) if method == "get" else stranger.post(path, data={"form": form, "do": "off"})
        assert answer.status_code == 404, path
        assert "Cedar" not in answer.text and HARBOR.name not in answer.text
    for path in "/portal/numbers/ffffffff", "/portal/numbers/orders/00000000-0000-4000-8000-000000000000":
        assert stranger.get(path).status_code == 404
    assert tenants.connection(live.scope("cedar"), connection) == before


@pytest.mark.parametrize("oid", [CEDAR.users[2].oid, CEDAR.clinicians[0].entra_oid, NORDLYS.users[1].oid])
def test_an_ordinary_user_sees_nothing_of_any_page(live: Live, connection: str, oid: str) -> None:
    ordinary = Browser(live)
    ordinary.sign_in(oid)
    everything = [*paths(connection), "/portal", "/portal/setup", "/portal/setup/urls", "/portal/setup/sms",
                  "/portal/setup/link", "/portal/setup/finish", "/portal/setup/sms/withdraw", "/portal/numbers",
                  "/portal/history", "/portal/export",
                  "/portal/export/configuration.json", "/portal/region", "/portal/consent"]
    for path in everything:
        page = ordinary.get(path)
        assert page.status_code == 403 and "You need another role" in page.text, path
        assert "Cedar Clinic" not in page.text
    for path in ("/portal/setup/urls", "/portal/setup/sms", "/portal/setup/sms/withdraw",
                 f"/portal/connections/{connection}/remove"):
        assert ordinary.post(path, data={"do": "off"}).status_code == 403
