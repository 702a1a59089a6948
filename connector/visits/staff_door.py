"""The clinician's link that is written into the EHR: `/p/{token}` asks for Microsoft sign-in, then leads into Teams.

For those who open the visit from the appointment and not from the connector's own page. It shows the time and the
department, no patient, and works from what is stored when the EHR is down.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import azure.functions as func

from connector import clock, web
from connector.errors import ConnectorError, PermanentError, RefusedError, TransientError
from connector.join_link import wrong_link
from connector.keys import JoinToken, NotOpened
from connector.launch import begin_staff_sign_in, staff_account
from connector.tenants import Connection, TenantScope, connection
from connector.visits import times
from connector.visits.ahead import LIVE
from connector.visits.chart import no_ehr
from connector.visits.find import zone_named
from connector.visits.meeting import no_meeting, provision, staff_joined, stored, visit_key
from connector.visits.presence import read_presence

if TYPE_CHECKING:
    from connector.bootstrap import Services
    from connector.ehr import Appointment
    from connector.launch import StaffAccount


class _Door:
    """A link that this account may use. Raises RefusedError: 404 for a link that is not ours, 403 for an account of
    another organization."""

    def __init__(self, services: Services, token: JoinToken, account: StaffAccount) -> None:
        self.services, self.token = services, token
        self.scope: TenantScope = services.directory.scope_of_connection(token.connection_id)
        if account.tenant_id != self.scope.tenant_id:
            raise RefusedError(
                "visit.other_tenant",
                "You are signed in with a Microsoft account of another organization. Sign in with your account of "
                "this hospital.",
                status=403,
                title="Account of another organization",
            )
        self.connection: Connection = connection(self.scope, token.connection_id).value
        self.visit = visit_key(self.scope, self.connection.id, token.appointment_id)

    def appointment(self) -> Appointment | None:
        """None when the EHR does not answer, or refuses to."""
        try:
            return self.services.ehr.reader(self.scope, self.connection).appointment(self.token.appointment_id)
        except TransientError:
            return None
        except PermanentError as error:
            if error.code == "cerner.not_found":
                raise wrong_link() from None
            return None


def blueprint(services: Callable[[], Services]) -> func.Blueprint:
    bp = func.Blueprint()

    @bp.function_name("staff_door")
    @bp.route(route="p/{token}", methods=["GET"])
    @web.answers_with_page
    def staff_door(req: func.HttpRequest) -> func.HttpResponse:
        token, account = _token(services(), req), staff_account(req, services().sealer)
        other = web.query_one(req, "account") == "other"
        if account is None or other:
            return begin_staff_sign_in(services(), f"/p/{req.route_params['token']}", other=other)
        return _page(_Door(services(), token, account), req)

    @bp.function_name("staff_door_join")
    @bp.route(route="p/{token}/join", methods=["POST"])
    @web.answers_with_page
    def staff_door_join(req: func.HttpRequest) -> func.HttpResponse:
        web.require_same_origin(req, services().settings.public_url)
        token, account = _token(services(), req), staff_account(req, services().sealer)
        if account is None:
            return begin_staff_sign_in(services(), f"/p/{req.route_params['token']}")
        door = _Door(services(), token, account)
        appointment = door.appointment()
        if appointment is not None and appointment.status not in LIVE:
            return _page(door, req)
        if appointment is not None:
            try:
                meeting = provision(services(), door.scope, door.connection, appointment)
            except ConnectorError as error:
                raise no_meeting(error) from None
        else:
            ready = stored(services(), door.scope, door.connection, door.visit)
            if ready is None:
                raise no_ehr(services())
            meeting = ready
        staff_joined(door.scope, door.connection.id, door.visit, meeting)
        # no form-action: Chromium applies it to the redirect of a form, and Teams' addresses are opaque to us
        return web.redirect(meeting.join_web_url, csp=web.content_security_policy(form_action=None))

    return bp


def _token(services: Services, req: func.HttpRequest) -> JoinToken:
    try:
        return JoinToken.open(req.route_params.get("token", ""), services.sealer, "staff")
    except NotOpened:
        raise wrong_link() from None


def _page(door: _Door, req: func.HttpRequest) -> func.HttpResponse:
    appointment = door.appointment()
    ready = None if appointment else stored(door.services, door.scope, door.connection, door.visit)
    presence = read_presence(door.scope, door.connection.id, door.visit)
    department = door.connection.department_of(appointment.location_ids) if appointment else None
    start = appointment.start if appointment else ready.start if ready else None
    place = department.name if department else ready.department if ready else ""
    zone = zone_named(place, door.connection)
    return web.page(
        "staff_door.html",
        csp=web.content_security_policy(form_action=None),
        token=req.route_params["token"],
        clinic=door.connection.clinic_name,
        department=place,
        when=times.day_and_time(start, zone) if start else "",
        now=times.time_of_day(clock.now(), zone),
        ehr_status=appointment.status if appointment else "",
        may_join=appointment.status in LIVE if appointment else ready is not None,
        lobby=presence.number("lobby") if presence.text("live") == "on" else 0,
        joined=bool(presence.text("joined_at")),
    )
