"""No clinician's name reaches the patient: not a page, a text, an address or a meeting's subject."""

import json

from sandbox.cast import HARBOR
from tests.running import Browser, Live
from tests.visits.patient_states import tokens

OKAFOR = HARBOR.clinicians[0]
NAMES = {part for one in HARBOR.clinicians for part in (one.family, one.given, one.username, one.practitioner_id)}
NAMES |= {one.upn.partition("@")[0] for one in HARBOR.clinicians} | {one.entra_oid for one in HARBOR.clinicians}


def named_in(text: str) -> set[str]:
    return {name for name in NAMES if name.lower() in text.lower()}


def test_no_clinicians_name_reaches_the_patient(live: Live) -> None:
    desk, phone = Browser(live), Browser(live)
    visit = live.book("suri", in_minutes=4, clinician_key="okafor")
    session = desk.launch(user="okafor", patient="suri")
    desk.ask("GET", session, f"page?pick={live.pick(visit)}")
    linked = desk.link(OKAFOR.entra_oid, session)
    # the search finds a name where one may stand: in the clinician's own window
    assert named_in(linked.text) >= {OKAFOR.family, OKAFOR.given}
    assert named_in(json.dumps(live.world.resources[HARBOR.ehr_tenant]["Appointment", visit]))
    try:
        desk.ask("POST", session, "send", json={"channel": "sms"})
        desk.ask("POST", session, "late", json={"minutes": 10, "channel": "sms"})
        desk.ask("POST", session, "join")
        seen = [message.text for message in live.world.outbox]
        assert len(seen) >= 2
        link = live.join_token(visit)
        joined = phone.post(f"/j/{link}/join")
        assert joined.status_code == 303
        for path in (*tokens(live).values(), link):
            for what in f"/j/{path}", f"/j/{path}?lang=ko", f"/j/{path}/test", f"/j/{path}/stop", f"/j/{path}/calendar":
                answer = phone.get(what)
                seen.append(f"{answer.url} {dict(answer.headers)} {answer.text}")
        seen += [joined.headers["Location"], desk.ask("GET", session, "status").text]
        # what Teams was told: who organizes is an account of the clinic's, and whoever enters shows their own name
        seen += [json.dumps([meeting.body, meeting.external_id]) for meeting in live.world.meetings.values()]
        assert len(seen) > 60 and sum(map(len, seen)) > 100_000
        assert {name for text in seen for name in named_in(text)} == set()
    finally:
        live.world.outbox.clear()
        for row in list(live.table("Links").list_entities()):
            live.table("Links").delete_entity(row)
