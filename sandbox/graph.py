"""Simulated Microsoft Graph: online meetings of organizers, organization and user look-ups.

Source: Microsoft Graph v1.0 reference, "onlineMeeting: createOrGet", "Update onlineMeeting", "Get
onlineMeeting", "virtualAppointment: getVirtualAppointmentJoinWebUrl", "lobbyBypassSettings resource type",
"Configure application access to online meetings".
"""

from __future__ import annotations

import base64
import re
import secrets
import uuid
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, unquote

import flask
from flask import request
from flask.typing import ResponseReturnValue

from sandbox import graph_subscriptions, stand_in
from sandbox.graph_access import GraphError, authorized, json_body
from sandbox.graph_meetings import BadMeeting, apply_update, new_times, shown
from sandbox.stand_in import world
from sandbox.world import EntraUser, Hospital, Json, Meeting, World

COUNTRIES = {"americas": "US", "emea": "DK", "apac": "AU"}
CREATE_OR_GET = {"externalId", "subject", "startDateTime", "endDateTime", "participants", "chatInfo"}
READ_MEETING = ("OnlineMeetings.Read.All", "OnlineMeetings.ReadWrite.All")
WRITE_MEETING = ("OnlineMeetings.ReadWrite.All",)
routes = flask.Blueprint("graph", __name__)
MEETINGS = "/v1.0/users/<oid>/onlineMeetings"
JOIN_WEB_URL = re.compile(r"JoinWebUrl eq '([^']+)'")
TEAMS_PLAN = "57ff2da0-773e-42df-b2af-ffb7a2317929"


def create_app(world: World) -> flask.Flask:
    """The Graph stand-in; every request needs an app-only token of the simulated Entra."""
    app = stand_in.make(world, "graph", routes)
    app.register_blueprint(graph_subscriptions.routes)
    return app


@routes.app_errorhandler(GraphError)
def refused(problem: GraphError) -> ResponseReturnValue:
    inner = {"date": world.now().strftime("%Y-%m-%dT%H:%M:%S"), "request-id": str(uuid.uuid4())}
    return {"error": {"code": problem.code, "message": problem.message, "innerError": inner}}, problem.status


@routes.app_errorhandler(BadMeeting)
def bad_meeting(problem: BadMeeting) -> ResponseReturnValue:
    return refused(GraphError(400, "BadRequest", str(problem)))


@routes.app_errorhandler(404)
def no_such_route(_: Exception) -> ResponseReturnValue:
    return refused(GraphError(400, "BadRequest", "Resource not found for the segment."))


@routes.post(f"{MEETINGS}/createOrGet")
def create_or_get(oid: str) -> ResponseReturnValue:
    hospital, organizer = _organizer(oid, WRITE_MEETING)
    body = json_body()
    external_id = body.get("externalId")
    if not isinstance(external_id, str) or not external_id or set(body) - CREATE_OR_GET:
        raise BadMeeting("createOrGet needs externalId and takes no lobby or presenter settings")
    with world.changing():
        for meeting in world.meetings.values():
            if (meeting.tid, meeting.organizer_oid, meeting.external_id) == (hospital.tid, oid, external_id):
                return _meeting_json(meeting), 200
        meeting = _new_meeting(hospital, organizer, external_id, body)
        world.meetings[meeting.id] = meeting
        return _meeting_json(meeting), 201


@routes.get(MEETINGS)
def meetings_by_join_url(oid: str) -> ResponseReturnValue:
    """Only with the filter; the address in it is encoded once more than the query."""
    hospital, _ = _organizer(oid, READ_MEETING)
    match = JOIN_WEB_URL.fullmatch(request.args.get("$filter", ""))
    if match is None:
        raise GraphError(400, "BadRequest", "A filter on JoinWebUrl is required.")
    found = [meeting for meeting in world.meetings.values()
             if meeting.tid == hospital.tid and meeting.body["joinWebUrl"] == unquote(match[1])]
    if not found:
        raise GraphError(404, "NotFound", "The requested online meeting was not found.")
    return {"value": [_meeting_json(meeting) for meeting in found]}


@routes.get(f"{MEETINGS}/<meeting_id>")
def get_meeting(oid: str, meeting_id: str) -> ResponseReturnValue:
    return _meeting_json(_meeting(oid, meeting_id, READ_MEETING))


@routes.patch(f"{MEETINGS}/<meeting_id>")
def update_meeting(oid: str, meeting_id: str) -> ResponseReturnValue:
    with world.changing():
        meeting = _meeting(oid, meeting_id, WRITE_MEETING)
        apply_update(world, meeting, json_body())
        return _meeting_json(meeting)


@routes.delete(f"{MEETINGS}/<meeting_id>")
def delete_meeting(oid: str, meeting_id: str) -> ResponseReturnValue:
    with world.changing():
        del world.meetings[_meeting(oid, meeting_id, WRITE_MEETING).id]
    return "", 204


@routes.get(f"{MEETINGS}/<meeting_id>/getVirtualAppointmentJoinWebUrl")
def virtual_appointment_url(oid: str, meeting_id: str) -> ResponseReturnValue:
    meeting = _meeting(oid, meeting_id, ("VirtualAppointment.Read.All",))
    thread = quote(meeting.body["chatInfo"]["threadId"], safe="")
    value = f"{world.ports.url('teams')}/webrtc-svc/api/route?tid={meeting.tid}&convId={thread}"
    return {"@odata.context": "https://graph.microsoft.com/v1.0/$metadata#Edm.String", "value": value}


@routes.get("/v1.0/organization")
def organization() -> ResponseReturnValue:
    hospital = authorized(("Organization.Read.All",))
    country = COUNTRIES[hospital.region]
    domain = hospital.directory[0].upn.partition("@")[2]
    entity = {
        "id": hospital.tid,
        "displayName": hospital.name,
        "countryLetterCode": country,
        "defaultUsageLocation": country,
        "tenantType": "AAD",
        "verifiedDomains": [{"name": domain, "isDefault": True, "isInitial": False, "type": "Managed"}],
    }
    context = "https://graph.microsoft.com/v1.0/$metadata#organization"
    return {"@odata.context": context, "value": [_selected(entity)]}


@routes.get("/v1.0/users/<oid>")
def user(oid: str) -> ResponseReturnValue:
    hospital = authorized(("User.Read.All",))
    found = _user(hospital, oid)
    entity: Json = {"id": found.oid, "displayName": found.name, "userPrincipalName": found.upn, "mail": found.upn}
    if "$select" in request.args:  # these two come only when asked for
        plan = {"capabilityStatus": "Enabled", "service": "TeamspaceAPI", "servicePlanId": TEAMS_PLAN}
        licensed = world.without_teams.isdisjoint((hospital.tid, oid))
        entity |= {"accountEnabled": oid not in world.disabled_accounts, "assignedPlans": [plan] if licensed else []}
    context = {"@odata.context": "https://graph.microsoft.com/v1.0/$metadata#users/$entity"}
    return context | _selected(entity)


@routes.get("/v1.0/subscribedSkus")
def subscribed_skus() -> ResponseReturnValue:
    hospital = authorized(("LicenseAssignment.Read.All", "Organization.Read.All", "Directory.Read.All"))
    plans = [{"servicePlanId": "9aaf7827-d63c-4b61-89c3-182f06f82e5c", "servicePlanName": "EXCHANGE_S_STANDARD",
              "provisioningStatus": "Success", "appliesTo": "User"}]
    if hospital.tid not in world.without_teams:
        plans.append({"servicePlanId": TEAMS_PLAN, "servicePlanName": "TEAMS1", "provisioningStatus": "Success",
                      "appliesTo": "User"})
    sku = {"id": f"{hospital.tid}_f245ecc8-75af-4f8e-b61f-27d8114de5f3", "skuPartNumber": "O365_BUSINESS_PREMIUM",
           "capabilityStatus": "Enabled", "consumedUnits": len(hospital.directory), "servicePlans": plans}
    return {"@odata.context": "https://graph.microsoft.com/v1.0/$metadata#subscribedSkus", "value": [sku]}


def _user(hospital: Hospital, oid: str) -> EntraUser:
    """Object ids and user principal names of the token's own tenant name a user."""
    named = next((user.oid for user in hospital.directory if user.upn.lower() == oid.lower()), oid)
    found = world.entra_user(named)
    if found is None or found[0] != hospital:
        message = f"Resource '{oid}' does not exist."
        raise GraphError(404, "Request_ResourceNotFound", message)
    return found[1]


def _organizer(oid: str, any_of: tuple[str, ...]) -> tuple[Hospital, EntraUser]:
    hospital = authorized(any_of)
    found = _user(hospital, oid)
    if oid not in world.access_policy:
        raise GraphError(403, "Forbidden", "No application access policy found for this app")
    return hospital, found


def _meeting(oid: str, meeting_id: str, any_of: tuple[str, ...]) -> Meeting:
    _organizer(oid, any_of)
    meeting = world.meetings.get(meeting_id)
    if meeting is None or meeting.organizer_oid != oid:
        raise GraphError(404, "NotFound", "The requested online meeting was not found.")
    return meeting


def _new_meeting(hospital: Hospital, organizer: EntraUser, external_id: str, body: Json) -> Meeting:
    thread = f"19:meeting_{base64.b64encode(secrets.token_bytes(39), altchars=b'Nx').decode()}@thread.v2"
    context = f'{{"Tid":"{hospital.tid}","Oid":"{organizer.oid}"}}'
    meeting_id = base64.urlsafe_b64encode(f"1*{organizer.oid}*0**{thread}".encode()).rstrip(b"=").decode()
    join = f"{world.ports.url('teams')}/l/meetup-join/{quote(thread, safe='')}/0"
    start, end = new_times(body, world.now())
    identity = {"user": {"id": organizer.oid, "tenantId": hospital.tid, "displayName": organizer.name}}
    meeting = Meeting(
        id=meeting_id,
        tid=hospital.tid,
        organizer_oid=organizer.oid,
        external_id=external_id,
        body={
            "id": meeting_id,
            "creationDateTime": _graph_time(datetime.now(UTC)),
            "startDateTime": start,
            "endDateTime": end,
            "subject": body.get("subject"),
            "externalId": external_id,
            "joinWebUrl": f"{join}?context={quote(context, safe='')}",
            "chatInfo": {"threadId": thread, "messageId": "0", "replyChainMessageId": None},
            "participants": {
                "organizer": {"upn": organizer.upn, "role": "presenter", "identity": identity},
                "attendees": [],
            },
            # A tenant's meeting policy decides the first lobby; this one lets the organization's guests in.
            "lobbyBypassSettings": {"scope": "organization", "isDialInBypassEnabled": False},
            "allowedPresenters": "everyone",
            "allowMeetingChat": "enabled",
            "isEntryExitAnnounced": True,
        },
    )
    if "participants" in body:
        apply_update(world, meeting, {"participants": body["participants"]})
    return meeting


def _graph_time(at: datetime) -> str:
    return (at - timedelta(microseconds=at.microsecond)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _meeting_json(meeting: Meeting) -> Json:
    every_enum_member = "include-unknown-enum-members" in request.headers.get("Prefer", "")
    return shown(meeting.body, every_enum_member=every_enum_member)


def _selected(entity: Json) -> Json:
    wanted = request.args.get("$select")
    return {k: v for k, v in entity.items() if k in wanted.split(",")} if wanted else entity
