"""Stand-in for the Teams call: who waits in the lobby, who is connected, and one page to see and do it.

Lobby rules: Microsoft Graph v1.0 reference, "lobbyBypassSettings resource type". There is no audio or video.
"""

from __future__ import annotations

import uuid
from urllib.parse import quote

import flask
from flask import redirect, render_template, request
from flask.typing import ResponseReturnValue

from sandbox import graph_subscriptions, stand_in
from sandbox.stand_in import world
from sandbox.world import Meeting, Participant, World

routes = flask.Blueprint("teams", __name__)
INSIDE_SCOPES = ("organization", "organizationAndFederated", "organizationExcludingGuests")


def join(world: World, meeting_id: str, name: str, oid: str | None) -> Participant:
    """Enter as a guest (`oid` None, self-chosen name) or as a user; the lobby settings decide what happens.

    A user who is in the meeting already is not doubled. Raises LookupError for an unknown meeting or user.
    """
    with world.changing():
        meeting = world.meetings[meeting_id]
        person = Participant(uuid.uuid4().hex, name[:64] or "Guest", "guest", "lobby", oid)
        bypasses = _scope(meeting) == "everyone"
        if oid is not None:
            found = world.entra_user(oid)
            if found is None:
                raise LookupError("no such user")
            present = next((p for p in meeting.participants if p.oid == oid and p.state != "left"), None)
            if present:
                return present
            person.name, person.kind = found[1].name, "user"
            bypasses = _bypasses(meeting, found[0].tid, oid)
        person.state = "connected" if bypasses else "lobby"
        meeting.participants.append(person)
        graph_subscriptions.tell(world, meeting, [person])
        return person


def admit(world: World, meeting_id: str, participant_id: str | None) -> list[Participant]:
    """Let one participant, or everybody, out of the lobby; returns whom."""
    with world.changing():
        waiting = [p for p in world.meetings[meeting_id].participants if p.state == "lobby"]
        admitted = [p for p in waiting if participant_id in (None, p.id)]
        if participant_id is not None and not admitted:
            raise LookupError("not in the lobby")
        for person in admitted:
            person.state = "connected"
        graph_subscriptions.tell(world, world.meetings[meeting_id], admitted)
        return admitted


def leave(world: World, meeting_id: str, participant_id: str) -> Participant:
    """Leave the call or the lobby; leaving twice changes nothing."""
    with world.changing():
        person = next((p for p in world.meetings[meeting_id].participants if p.id == participant_id), None)
        if person is None:
            raise LookupError("no such participant")
        if person.state != "left":
            person.state = "left"
            graph_subscriptions.tell(world, world.meetings[meeting_id], [person])
        return person


def _scope(meeting: Meeting) -> str:
    return str(meeting.body["lobbyBypassSettings"]["scope"])


def _bypasses(meeting: Meeting, tid: str, oid: str) -> bool:
    if oid == meeting.organizer_oid or _scope(meeting) in ("everyone", "organizationAndFederated"):
        return True
    if _scope(meeting) == "invited":
        return any(a["identity"]["user"]["id"] == oid for a in meeting.body["participants"]["attendees"])
    return tid == meeting.tid and _scope(meeting) in INSIDE_SCOPES


def create_app(world: World) -> flask.Flask:
    """Join pages at the meeting's `joinWebUrl` and at its virtual-appointment URL."""
    return stand_in.make(world, "teams", routes)


def _by_thread(thread: str) -> Meeting:
    for meeting in world.meetings.values():
        if meeting.body["chatInfo"]["threadId"] == thread:
            return meeting
    flask.abort(404)


def _by_participant(participant_id: str) -> tuple[Meeting, Participant]:
    for meeting in world.meetings.values():
        for person in meeting.participants:
            if person.id == participant_id:
                return meeting, person
    flask.abort(404)


@routes.app_errorhandler(404)
def gone(_: Exception) -> ResponseReturnValue:
    return render_template("teams_gone.html", title="We couldn't find that meeting"), 404


@routes.get("/l/meetup-join/<thread>/0")
def meetup_join(thread: str) -> ResponseReturnValue:
    meeting = _by_thread(thread)
    if oid := request.args.get("as"):
        return _enter(meeting, "", oid)
    hospital = world.hospital_of_tid(meeting.tid)
    return render_template("teams_join.html", title="Join the meeting", meeting=meeting, hospital=hospital)


@routes.post("/l/meetup-join/<thread>/0")
def enter(thread: str) -> ResponseReturnValue:
    form = request.form
    return _enter(_by_thread(thread), form.get("name", "").strip(), form.get("as") or None)


@routes.get("/webrtc-svc/api/route")
def route() -> ResponseReturnValue:
    thread = _by_thread(request.args.get("convId", "")).body["chatInfo"]["threadId"]
    return redirect(f"/l/meetup-join/{quote(thread, safe='')}/0")


@routes.get("/call/<participant_id>")
def call(participant_id: str) -> ResponseReturnValue:
    meeting, me = _by_participant(participant_id)
    groups = {s: [p for p in meeting.participants if p.state == s] for s in ("connected", "lobby")}
    return render_template(
        "teams_call.html", title="Meeting", meeting=meeting, me=me, version=_version(meeting), **groups
    )


@routes.get("/call/<participant_id>/state")
def state(participant_id: str) -> ResponseReturnValue:
    return {"version": _version(_by_participant(participant_id)[0])}


@routes.post("/call/<participant_id>/admit")
def admit_from_page(participant_id: str) -> ResponseReturnValue:
    meeting, me = _by_participant(participant_id)
    if me.state != "connected" or me.kind != "user":
        flask.abort(403)
    if request.form.get("participant") in {p.id for p in meeting.participants if p.state == "lobby"}:
        admit(world, meeting.id, request.form["participant"])
    return redirect(f"/call/{me.id}")


@routes.post("/call/<participant_id>/leave")
def leave_from_page(participant_id: str) -> ResponseReturnValue:
    meeting, me = _by_participant(participant_id)
    leave(world, meeting.id, me.id)
    return redirect(f"/call/{me.id}")


def _enter(meeting: Meeting, name: str, oid: str | None) -> ResponseReturnValue:
    try:
        person = join(world, meeting.id, name, oid)
    except LookupError:
        flask.abort(404)
    return redirect(f"/call/{person.id}")


def _version(meeting: Meeting) -> str:
    return " ".join(f"{p.id} {p.state}" for p in meeting.participants)
