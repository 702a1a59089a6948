"""The control API: scripts and the home page move the world by the same functions. README.md documents it.

Each action takes the world and plain values (a JSON body, a form), changes the world and returns the answer.
Values that make no sense raise BadRequestError, which the API answers with 400 and its text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import flask

from sandbox import event_grid, teams
from sandbox.cerner import appointments, powerchart
from sandbox.world import FAULT_KINDS, REGIONS, Hospital, Json, Registration, World

VENDORS = ("cerner", "authorization", "entra", "graph", "acs")
PERSONAS = ("provider", "patient")
Values = Mapping[str, Any]


class BadRequestError(ValueError):
    """What is wrong with a request, in words for whoever sent it."""


def blueprint(world: World) -> flask.Blueprint:
    """The routes under `/_control`."""
    control = flask.Blueprint("control", __name__, url_prefix="/_control")

    @control.errorhandler(BadRequestError)
    def bad_request(problem: BadRequestError) -> tuple[Json, int]:
        return {"error": str(problem)}, 400

    def post(path: str, action: Callable[[World, Values], Json]) -> None:
        control.add_url_rule(path, action.__name__, lambda: action(world, _body()), methods=["POST"])

    post("/reset", reset)
    post("/clock", clock)
    post("/faults", faults)
    post("/launch", launch)
    post("/registrations", register)
    post("/appointments", book)
    post("/inbound", inbound)
    post("/numbers", numbers)
    control.add_url_rule("/appointments", "change", lambda: change(world, _body()), methods=["PATCH"])
    control.add_url_rule("/meetings", "meetings", lambda: flask.jsonify(meetings(world)))
    control.add_url_rule(
        "/meetings/<meeting_id>/<any(join,admit,leave):action>",
        "attend",
        lambda meeting_id, action: attend(world, meeting_id, action, _body()),
        methods=["POST"],
    )
    control.add_url_rule("/outbox", "outbox", lambda: flask.jsonify(outbox(world)))
    control.add_url_rule("/mail", "mail", lambda: flask.jsonify(mail(world)))
    control.add_url_rule("/requests", "requests", lambda: requests(world))
    return control


def reset(world: World, _: Values) -> Json:
    """The first state again. What the app has stored stays: it keeps its own side."""
    with world.lock:
        world.reset()
        appointments.populate(world)
    return {"now": world.now().isoformat()}


def clock(world: World, values: Values) -> Json:
    """Move business time forward by `advance_s` seconds."""
    seconds = _number(values, "advance_s")
    if seconds < 0:
        raise BadRequestError("advance_s must not be negative: time does not run backwards here")
    world.advance(timedelta(seconds=seconds))
    return {"now": world.now().isoformat()}


def faults(world: World, values: Values) -> Json:
    """Let the next `next` requests of `vendor` fail as `kind`."""
    vendor, kind = _choice(values, "vendor", VENDORS), _choice(values, "kind", FAULT_KINDS)
    count = _number({"next": 1, **values}, "next")
    if count != int(count) or count < 1:
        raise BadRequestError("next must be a whole number of requests, 1 or more")
    world.add_fault(vendor, next(known for known in FAULT_KINDS if known == kind), int(count))
    return {"vendor": vendor, "kind": kind, "next": int(count)}


def launch(world: World, values: Values) -> Json:
    """The URL that PowerChart (or the patient portal) opens; without `patient` no chart is open."""
    persona = _choice({"persona": "provider", **values}, "persona", PERSONAS)
    hospital = _hospital(world, values)
    if hospital.key not in world.registrations:
        raise BadRequestError(f"{hospital.key} has no integration record yet: the app is not configured")
    if persona == "patient":
        return {
            "url": powerchart.launch_url(
                world, hospital.key, "patient", patient_key=_patient(hospital, values)
            )
        }
    user = _choice(values, "user", [clinician.key for clinician in hospital.clinicians])
    patient = _patient(hospital, values) if values.get("patient") else None
    return {"url": powerchart.launch_url(world, hospital.key, "provider", user, patient)}


def register(world: World, values: Values) -> Json:
    """Enter integration records in the EHR: what a Cerner team does with the values of the portal."""
    hospital, app = _hospital(world, values), re.escape(world.ports.url("app"))
    found = re.fullmatch(rf"{app}/launch/([a-z0-9]+)/provider", str(values.get("provider_launch_url", "")).strip())
    if found is None:
        raise BadRequestError("provider_launch_url must be the SMART launch URI for providers that the portal shows")
    patient = str(values.get("patient_launch_url", "")).strip()
    if patient and not re.fullmatch(rf"{app}/launch/{found[1]}/patient", patient):
        raise BadRequestError("patient_launch_url must be the SMART launch URI for patients of the same connection")
    redirect_uri = str(values.get("redirect_uri", "")).strip()
    if not redirect_uri.startswith(f"{world.ports.url('app')}/"):
        raise BadRequestError("redirect_uri must be the redirect URI that the portal shows")
    made = Registration(found[1], found[0], patient, redirect_uri)
    with world.lock:
        world.registrations[hospital.key] = made
    return {"connection": made.connection}


def book(world: World, values: Values) -> Json:
    """Book an appointment (default kind: a native video visit) at `start` or `in_minutes` from now."""
    hospital = _hospital(world, values)
    kind = _choice({"kind": "native", **values}, "kind", get_args(appointments.Kind))
    clinicians = [clinician.key for clinician in hospital.clinicians]
    clinician = _choice({"clinician": clinicians[0], **values}, "clinician", clinicians)
    start = _start(world, values)
    booked = appointments.book(
        world,
        hospital.key,
        _patient(hospital, values),
        start=start,
        clinician_key=clinician,
        kind=next(known for known in get_args(appointments.Kind) if known == kind),
    )
    return {"id": booked, "start": start.isoformat()}


def change(world: World, values: Values) -> Json:
    """Move the appointment `id` to `start`, or cancel it."""
    hospital = _hospital(world, values)
    appointment = str(values.get("id", ""))
    if ("Appointment", appointment) not in world.resources[hospital.ehr_tenant]:
        raise BadRequestError(f"{hospital.key} has no appointment with this id")
    if values.get("cancel") in (True, "true"):
        appointments.cancel(world, hospital.key, appointment)
        return {"id": appointment, "status": "cancelled"}
    start = _start(world, values)
    appointments.move(world, hospital.key, appointment, start)
    return {"id": appointment, "start": start.isoformat()}


def inbound(world: World, values: Values) -> Json:
    """A patient's reply `text`, `from` a phone `to` our number, as Event Grid tells the app (1.0, SMSReceived)."""
    region = _choice({"region": "americas", **values}, "region", REGIONS)
    known = {name: str(values.get(name, "")).removeprefix("+") for name in ("from", "to")}
    if not all(known.values()):
        raise BadRequestError("from and to must be telephone numbers")
    if region != event_grid.REGION:
        raise BadRequestError("only numbers of the Americas get replies")
    text = str(values.get("text", ""))
    with world.lock:
        world.replies.append((f"+{known['from']}", text, world.now()))
    event = event_grid.reply(known["from"], known["to"], text, world.now())
    return {"status": event_grid.deliver(world, event)}


def numbers(world: World, values: Values) -> Json:
    """Carriers verify the toll-free `number`, or take that back: until then they block what it sends."""
    number, verified = str(values.get("number", "")), values.get("verified", True) in (True, "true")
    with world.lock:
        known = {f"+{owned}" for held in world.owned_numbers.values() for owned in held}
        if number not in known:
            raise BadRequestError("number must be one that was bought, such as +18332040117")
        (world.unverified_senders.discard if verified else world.unverified_senders.add)(number)
    return {"number": number, "verified": verified}


def attend(world: World, meeting_id: str, action: str, values: Values) -> Json:
    """Join as a guest or, with `oid`, as that user; admit one `participant` or all; leave likewise."""
    participant = values.get("participant")
    with world.lock:
        if meeting_id not in world.meetings:
            raise BadRequestError("there is no meeting with this id; GET /_control/meetings lists them")
        try:
            if action == "join":
                person = teams.join(world, meeting_id, str(values.get("name") or "Guest"), values.get("oid"))
                return {"participant": person.id, "state": person.state}
            if action == "admit":
                return {"participants": [person.id for person in teams.admit(world, meeting_id, participant)]}
            leaving = (
                [participant] if participant else [p.id for p in world.meetings[meeting_id].participants]
            )
            return {"participants": [teams.leave(world, meeting_id, who).id for who in leaving]}
        except LookupError as unknown:
            raise BadRequestError(str(unknown)) from None


def meetings(world: World) -> list[Json]:
    """Every meeting with who waits in its lobby and who is connected."""
    with world.lock:
        found = []
        for meeting in world.meetings.values():
            hospital = world.hospital_of_tid(meeting.tid)
            states = [person.state for person in meeting.participants]
            found.append(
                {
                    "id": meeting.id,
                    "hospital": hospital.key if hospital else "",
                    "url": meeting.body.get("joinWebUrl", ""),
                    "subject": meeting.body.get("subject"),
                    "start": meeting.body.get("startDateTime"),
                    "lobby": states.count("lobby"),
                    "connected": states.count("connected"),
                    "participants": [asdict(person) for person in meeting.participants],
                }
            )
        return found


def outbox(world: World) -> list[Json]:
    """Every SMS that was accepted, oldest first."""
    with world.lock:
        return [
            {**asdict(message), "accepted_at": message.accepted_at.isoformat()} for message in world.outbox
        ]


def mail(world: World) -> list[Json]:
    """Every e-mail that arrived, oldest first."""
    with world.lock:
        return [{**asdict(one), "accepted_at": one.accepted_at.isoformat()} for one in world.mail]


def requests(world: World) -> Json:
    """How often each operation of each vendor was asked since the last reset."""
    counted: Json = {}
    with world.lock:
        for (vendor, operation), count in sorted(world.requests.items()):
            counted.setdefault(vendor, {})[operation] = count
    return counted


def _body() -> Values:
    """The JSON body whatever its declared type: `curl -d` calls everything a form."""
    try:
        body = json.loads(flask.request.get_data() or b"{}")
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise BadRequestError("the body must be a JSON object")
    return body


def _choice(values: Values, name: str, known: Collection[str]) -> str:
    value = values.get(name)
    if value not in known:
        raise BadRequestError(f"{name} must be one of {', '.join(known)}")
    return str(value)


def _hospital(world: World, values: Values) -> Hospital:
    return world.hospitals[_choice(values, "hospital", list(world.hospitals))]


def _patient(hospital: Hospital, values: Values) -> str:
    return _choice(values, "patient", [person.key for person in hospital.patients])


def _number(values: Values, name: str) -> float:
    try:
        number = float(values[name])
    except (KeyError, TypeError, ValueError):
        raise BadRequestError(f"{name} must be a number") from None
    if not abs(number) < 1e9:
        raise BadRequestError(f"{name} is out of range")
    return number


def _start(world: World, values: Values) -> datetime:
    if "start" not in values:
        return (world.now() + timedelta(minutes=_number(values, "in_minutes"))).replace(
            second=0, microsecond=0
        )
    try:
        start = datetime.fromisoformat(str(values["start"]))
    except ValueError:
        raise BadRequestError("start must be ISO 8601, such as 2026-11-23T15:30:00Z") from None
    if start.tzinfo is None:
        raise BadRequestError("start must name its offset, such as 2026-11-23T15:30:00Z")
    return start.astimezone(UTC)
