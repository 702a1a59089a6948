"""A lost link: a number or address in, one answer for everybody out, and the link only to what the record has.

What is typed is compared with keyed hashes, each within its visit: of what was told (`contact`) and of what else the
record had then (`others`). So nothing is stored to find people by, and nothing typed goes into a queue. Known or not,
the request does the same: the same reads, the same comparisons, one hint; what follows from a match happens in the
queue's worker, where `send_link` reserves its limits before it sends.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import azure.functions as func

from connector import clock, flood, logs, web
from connector.adapters.queues import Hint
from connector.errors import ConnectorError, RefusedError
from connector.keys import CONNECTION_ID
from connector.messages.contacts import normal_address
from connector.messages.ledger import OTHER
from connector.messages.one_off import send_link
from connector.messages.phone import country_of_number, typed_mobile
from connector.messages.plan import contact_key
from connector.messages.register import visits
from connector.messages.upcoming import Upcoming, upcoming
from connector.regions import Region
from connector.tenants import Channel, Connection, TenantScope, connection, of_hint, recent_connections
from connector.zones import country_of

if TYPE_CHECKING:
    from connector.bootstrap import Services

_GONE = ("cancelled", "entered-in-error", "noshow")
BEHIND, AHEAD = timedelta(hours=4), timedelta(days=7)
"""Starts of the visits whose link is sent again."""
AT_MOST = 3
"""Visits of one person whose links are sent at once."""
CLINICS = 5
"""Above this many, the page must be opened for one clinic: `/j?clinic={connection}`."""
_PER_CONTACT, _PER_CLINIC = 3, 60
"""Requests a minute in this process; what is sent has limits of its own, kept in storage."""


def blueprint(services: Callable[[], Services], regions: Iterable[Region]) -> func.Blueprint:
    bp = func.Blueprint()

    @bp.function_name("lost_link_page")
    @bp.route(route="j", methods=["GET"])
    @web.page_errors("patient", "patient_error.html")
    def lost_link_page(req: func.HttpRequest) -> func.HttpResponse:
        return _page(services(), req, "none" if web.query_one(req, "none") else "ask")

    @bp.function_name("lost_link")
    @bp.route(route="j", methods=["POST"])
    @web.page_errors("patient", "patient_error.html")
    def lost_link(req: func.HttpRequest) -> func.HttpResponse:
        web.require_same_origin(req, services().settings.public_url)
        clinics = _clinics(services(), web.query_one(req, "clinic"))
        if clinics and not _ask(services(), clinics, web.form(req).get("contact", "").strip()):
            return _page(services(), req, "unreadable", status=422)
        return _page(services(), req, "asked")

    for region in regions:
        _add_region(bp, services, region)
    return bp


def _add_region(bp: func.Blueprint, services: Callable[[], Services], region: Region) -> None:
    @bp.function_name(f"lost_link_{region}")
    @bp.queue_trigger(arg_name="message", queue_name=f"lost-{region}", connection=f"{region.upper()}_STORAGE")
    def lost_link_region(message: func.QueueMessage) -> None:
        hint = json.loads(message.get_body())
        named = of_hint(services().directory, region, hint)
        if named is not None and hint["visits"]:
            answer(services(), *named, hint["visits"].split(), hint["channel"])


def visits_of_contact(
    scope: TenantScope, connection_id: str, contact: str, now: datetime, *, others: bool = False
) -> list[str]:
    """Keys of the live visits ahead that were told last to this E.164 number or address; soonest first.

    With `others` also those whose record had it beside the one that was told.
    """
    found = visits(scope, connection_id, (now - BEHIND, now + AHEAD)).values()
    named = [(visit, contact_key(scope, visit.key, contact)) for visit in found if visit.state == "live"]
    theirs = [v for v, name in named if v.contact == name or (others and name[:OTHER] in v.others.split())]
    return [visit.key for visit in sorted(theirs, key=lambda visit: visit.start)]


def answer(services: Services, scope: TenantScope, found: Connection, wanted: list[str], channel: Channel) -> None:
    """Send the links of these visits to the contact in the record; what is refused is only logged."""
    now = clock.now()
    known = upcoming(scope, found.id, (now - BEHIND, now + AHEAD))
    for visit in wanted:
        try:
            sent = visit in known and _send(services, scope, found, known[visit], channel)
            logs.event("lost_link.answered", connection=found.id, visit=visit, sent=sent)
        except ConnectorError as error:
            logs.event("lost_link.not_sent", connection=found.id, visit=visit, code=error.code)


def _send(services: Services, scope: TenantScope, found: Connection, visit: Upcoming, channel: Channel) -> bool:
    """By the channel of what was typed, or by the other where the record has nothing for it."""
    appointment_id = visit.appointment_id(scope, services.sealer)
    if appointment_id is None:
        return False
    reader = services.ehr.reader(scope, found)
    appointment = reader.appointment(appointment_id)
    patients = reader.patients_by_id(appointment.patient_ids).items if len(appointment.patient_ids) == 1 else ()
    if not patients or appointment.status in _GONE:
        return False
    try:
        send_link(services, scope, found, appointment, patients[0], channel=channel)
    except RefusedError as error:
        if error.code not in ("link.no_contact", "link.channel_off", "link.country"):
            raise
        send_link(services, scope, found, appointment, patients[0], channel="sms" if channel == "email" else "email")
    return True


def _ask(services: Services, clinics: list[tuple[TenantScope, Connection]], typed: str) -> bool:
    """Whether it could be a number or an address at all; whose it is, nobody learns from the answer."""
    understood = False
    channel: Channel = "email" if "@" in typed else "sms"
    for scope, found in clinics:
        contact = normal_address(typed) if channel == "email" else typed_mobile(typed, _country(found))
        if contact is None:
            continue
        understood = True
        flood.reserve(f"lost.{found.id}", _PER_CLINIC)
        flood.reserve(f"lost.{found.id}.{scope.index('contact', found.id, contact)}", _PER_CONTACT)
        known = visits_of_contact(scope, found.id, contact, clock.now(), others=True)[:AT_MOST]
        hint: Hint = {"tenant": scope.tenant_id, "connection": found.id, "visits": " ".join(known), "channel": channel}
        scope.queues.send(f"lost-{scope.region}", hint)
    return understood


def _clinics(services: Services, wanted: str | None) -> list[tuple[TenantScope, Connection]]:
    """The clinic that the page was opened for, or all that send, if they are few."""
    if wanted:
        if not CONNECTION_ID.fullmatch(wanted):
            return []
        try:
            scope = services.directory.scope_of_connection(wanted)
            found = connection(scope, wanted).value
        except RefusedError:
            return []
        return [(scope, found)] if found.may_send else []
    scopes = services.directory.scopes()
    sending = [(scope, found) for scope in scopes for found in recent_connections(scope).values() if found.may_send]
    return sending if len(sending) <= CLINICS else []


def _country(found: Connection) -> str | None:
    zone = found.departments[0].time_zone if found.departments else ""
    return country_of(zone) or country_of_number(found.contact_phone)


def _page(services: Services, req: func.HttpRequest, state: str, status: int = 200) -> func.HttpResponse:
    wanted = web.query_one(req, "clinic")
    clinics = _clinics(services, wanted)
    one = clinics[0][1] if len(clinics) == 1 else None
    return web.page(
        "patient_lost.html",
        status=status,
        language=web.language_of(req, "patient"),
        address=f"/j?clinic={one.id}" if one and wanted else "/j",
        clinic=one.clinic_name if one else "",
        phone=one.contact_phone if one else "",
        state=state if clinics else "which",
    )
