"""The pages of the sandbox itself: the story board, patients' phones, PowerChart, and what is in storage.

The forms here move the world by the same functions as the control API.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import flask
from flask.typing import ResponseReturnValue
from markupsafe import Markup, escape

from sandbox import control, storage
from sandbox.world import FAULT_KINDS, Hospital, Json, Person, World

_URL = re.compile(r"https?://[^\s<>\"]+[^\s<>\".,;:!?)]")
_ACTIONS = {
    "reset": (control.reset, "Back at the beginning.", "break"),
    "clock": (control.clock, "Time moved on.", "time"),
    "faults": (control.faults, "The next requests will fail.", "break"),
    "book": (control.book, "Booked.", "visit"),
    "change": (control.change, "Changed.", "visit"),
    "verify": (control.numbers, "The carriers have verified it: what it sends arrives from now on.", "newcomer"),
    "register": (control.register, "Entered in Cerner. The hospital can launch the app now.", "newcomer"),
}
"""Form name to action, what to say afterwards, and the step of the page to return to."""


def create_app(world: World) -> flask.Flask:  # noqa: C901 - counts every handler it registers
    """The home page and, on the same port, the control API."""
    app = flask.Flask(__name__)
    app.register_blueprint(control.blueprint(world))
    app.jinja_env.filters.update(linked=_linked, moment=datetime.fromisoformat)
    app.jinja_env.globals.update(
        app_url=world.ports.url("app"),
        here=lambda hospital: world.now().astimezone(ZoneInfo(hospital.time_zone)),
        local=lambda moment, hospital: moment.astimezone(ZoneInfo(hospital.time_zone)),
    )

    @app.context_processor
    def cast() -> Json:
        """Hospitals that take part, and those that wait to be connected."""
        known = world.registrations
        return {
            "hospitals": [one for one in world.hospitals.values() if one.connected or one.key in known],
            "newcomers": [one for one in world.hospitals.values() if not one.connected],
            "registrations": known,
            "ports": world.ports,
            "unverified": sorted(world.unverified_senders),
        }

    @app.get("/")
    def home() -> ResponseReturnValue:
        schedule = {hospital.key: _today(world, hospital) for hospital in world.hospitals.values()}
        return flask.render_template(
            "home.html",
            note=flask.request.args.get("note"),
            at=flask.request.args.get("at"),
            bad="bad" in flask.request.args,
            schedule=schedule,
            offered={key: _offered(world, key, rows) for key, rows in schedule.items()},
            inbox={
                person.key: len(_messages(world, person)) + len(_mail(world, person))
                for hospital in world.hospitals.values()
                for person in hospital.patients
            },
            meetings=control.meetings(world),
            faults=[fault for fault in world.faults if fault.left],
            vendors=control.VENDORS,
            kinds=FAULT_KINDS,
            requests=control.requests(world),
            framed_origin=f"http://localhost:{world.ports.home}",
        )

    @app.post("/_home/<name>")
    def act(name: str) -> ResponseReturnValue:
        if name == "launch":
            return _launch(world, flask.request.form)
        if name not in _ACTIONS:
            flask.abort(404)
        action, note, step = _ACTIONS[name]
        return _done(action, world, note, step)

    @app.post("/_home/meetings/<meeting_id>/<any(join,admit,leave):what>")
    def attend(meeting_id: str, what: str) -> ResponseReturnValue:
        return _done(
            lambda world, form: control.attend(world, meeting_id, what, form), world, "Done.", "teams"
        )

    @app.get("/phone/<hospital_key>/<person_key>")
    def phone(hospital_key: str, person_key: str) -> ResponseReturnValue:
        hospital = world.hospitals.get(hospital_key) or flask.abort(404)
        person = next((p for p in hospital.patients if p.key == person_key), None) or flask.abort(404)
        return flask.render_template(
            "phone.html", hospital=hospital, person=person, texts=_texts(world, person), mail=_mail(world, person)
        )

    @app.post("/phone/<hospital_key>/<person_key>/reply")
    def reply(hospital_key: str, person_key: str) -> ResponseReturnValue:
        """A text from this phone to the hospital's number."""
        hospital = world.hospitals.get(hospital_key) or flask.abort(404)
        person = next((p for p in hospital.patients if p.key == person_key), None) or flask.abort(404)
        text = flask.request.form.get("text", "")
        control.inbound(world, {"from": person.mobile, "to": hospital.sender_value, "text": text})
        return flask.redirect(f"/phone/{hospital_key}/{person_key}", 303)

    @app.get("/mail/<mail_id>")
    def mail_body(mail_id: str) -> ResponseReturnValue:
        """One e-mail as a mail program shows its HTML, in a frame: no script, no picture from elsewhere."""
        found = next((one for one in world.mail if one.id == mail_id), None) or flask.abort(404)
        policy = "default-src 'none'; style-src 'unsafe-inline'; sandbox allow-popups allow-popups-to-escape-sandbox"
        opened = found.html.replace("<a ", '<a target="_blank" rel="noopener" ')
        return flask.Response(opened, headers={"Content-Security-Policy": policy})

    @app.get("/powerchart")
    def powerchart() -> ResponseReturnValue:
        """PowerChart's window with the app in a frame of 900 px; each view of this page is a new launch."""
        asked = flask.request.args
        try:
            url = control.launch(world, asked)["url"]
        except control.BadRequestError as problem:
            return flask.redirect(_home("powerchart", str(problem), bad=True))
        hospital = world.hospitals[asked["hospital"]]
        return flask.render_template(
            "powerchart.html",
            url=url,
            hospital=hospital,
            clinician=next(c for c in hospital.clinicians if c.key == asked["user"]),
            patient=next((p for p in hospital.patients if p.key == asked.get("patient")), None),
        )

    @app.get("/storage")
    def stored() -> ResponseReturnValue:
        return flask.render_template(
            "storage.html",
            regions=[storage.dump(region, connection) for region, connection in world.storage.items()],
        )

    return app


def _done(
    action: Callable[[World, control.Values], Json], world: World, note: str, step: str
) -> ResponseReturnValue:
    try:
        action(world, flask.request.form)
    except control.BadRequestError as problem:
        return flask.redirect(_home(step, f"That did not work: {problem}.", bad=True), 303)
    return flask.redirect(_home(step, note), 303)


def _home(step: str, note: str, *, bad: bool = False) -> str:
    return f"/?{urlencode({'note': note, 'at': step} | ({'bad': '1'} if bad else {}))}#{step}"


def _launch(world: World, form: Mapping[str, str]) -> ResponseReturnValue:
    """A launch on the full page, or in a frame on another site: `localhost` is not the app's `127.0.0.1`."""
    if "framed" in form:
        asked = urlencode({name: form[name] for name in ("hospital", "user", "patient") if name in form})
        return flask.redirect(f"http://localhost:{world.ports.home}/powerchart?{asked}", 303)
    try:
        return flask.redirect(control.launch(world, form)["url"], 303)
    except control.BadRequestError as problem:
        return flask.redirect(_home("powerchart", f"That did not work: {problem}.", bad=True), 303)


def _messages(world: World, person: Person) -> list[Any]:
    with world.lock:
        return [message for message in world.outbox if message.to == person.mobile]


def _texts(world: World, person: Person) -> list[Json]:
    """Both sides of the conversation, oldest first; `sender` is None for what the person wrote."""
    got = [{"at": one.accepted_at, "text": one.text, "sender": one.sender} for one in _messages(world, person)]
    with world.lock:
        sent = [{"at": at, "text": text, "sender": None} for who, text, at in world.replies if who == person.mobile]
    return sorted(got + sent, key=lambda one: one["at"])


def _mail(world: World, person: Person) -> list[Any]:
    with world.lock:
        return [one for one in world.mail if one.to == person.email]


def _today(world: World, hospital: Hospital) -> list[Json]:
    """The hospital's appointments of the current day, as its scheduling desk sees them."""
    zone = ZoneInfo(hospital.time_zone)
    people = {f"Patient/{person.patient_id}": person for person in hospital.patients}
    staff = {f"Practitioner/{clinician.practitioner_id}": clinician.key for clinician in hospital.clinicians}
    with world.lock:
        found = [
            resource
            for (kind, _), resource in world.resources.get(hospital.ehr_tenant, {}).items()
            if kind == "Appointment"
        ]
    rows = []
    for resource in found:
        start = datetime.fromisoformat(resource["start"]).astimezone(zone)
        if start.date() != world.now().astimezone(zone).date():
            continue
        actors = [part["actor"] for part in resource["participant"] if part.get("actor")]
        codes = {coding["code"] for coding in resource["serviceType"][0]["coding"]}
        who_comes = [actor.get("reference") for actor in actors]
        place = actors[0]["reference"].removeprefix("Location/")
        department = next(d for d in hospital.departments if place in d.location_ids)
        rows.append(
            {
                "id": resource["id"],
                "start": start,
                "status": resource["status"],
                "department": department,
                "video": "contained" in resource or bool(codes & set(hospital.video_visit_types)),
                "what": resource["description"],
                "patient": next((people[who] for who in who_comes if who in people), None),
                "clinician": next((staff[who] for who in who_comes if who in staff), None),
                "moved": (start + timedelta(minutes=30)).isoformat(),
            }
        )
    return sorted(rows, key=lambda row: (row["start"], row["id"]))


def _offered(world: World, hospital_key: str, rows: list[Json]) -> Json:
    """Whom the page offers first, so that who follows it meets: to book, a patient without a video visit today; in
    the chart, the visit of the next hour that was booked last."""
    patients = [person.key for person in world.hospitals[hospital_key].patients]
    visits = [row for row in rows if row["video"] and row["status"] == "booked" and row["department"].configured]
    busy = {row["patient"].key for row in visits if row["patient"]}
    soon = [row for row in visits if row["patient"] and abs(row["start"] - world.now()) < timedelta(hours=1)]
    last = max(soon, key=lambda row: int(row["id"]), default=None)
    return {
        "book": next((key for key in patients if key not in busy), patients[-1]),
        "patient": last["patient"].key if last else patients[0],
        "clinician": last["clinician"] if last else None,
    }


def _linked(text: str) -> Markup:
    """The text with its web addresses made tappable, as phones do."""
    parts, end = [], 0
    for found in _URL.finditer(text):
        parts += [
            escape(text[end : found.start()]),
            Markup('<a href="{0}" target="_blank" rel="noopener">{0}</a>').format(found[0]),
        ]
        end = found.end()
    return Markup("").join([*parts, escape(text[end:])])
