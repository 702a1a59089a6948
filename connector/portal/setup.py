"""The set-up, step by step: FHIR base URLs, SMS, links between the two, integration records.

Where somebody left off shows in what is configured, and is remembered by the browser: whoever goes on without SMS, or
adds one more address, comes back to just that page. A number that is under way is followed first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import azure.functions as func
from pydantic import ValidationError

from connector import checks, clock, messages, numbers, tenants, web
from connector.checks import Check
from connector.errors import RefusedError
from connector.languages import N_
from connector.portal import forms, numbers_pages, people
from connector.portal.entrance import Route, Visit
from connector.portal.records import integration_records
from connector.portal.tasks import tasks
from connector.tenants import Connection, ConnectionInput, Sender

_BLOCKING = frozenset({"fhir.address", "fhir.metadata", "patient.base", "base.duplicate", "environment"})
"""What must not fail before an address is stored. The rest may: Oracle enables the applications only after it was given
the launch address, which names the connection."""
_LATER = frozenset({"fhir.locations", "fhir.schedule"})
"""About departments, which come after the address."""
_FIELD_OF = {"patient.base": "patient_fhir_base_url", "environment": "environment"}
_TYPED = ("fhir_base_url", "environment", "clinic_name", "contact_phone", "name", "patient_fhir_base_url")
_ENVIRONMENTS = ("test", "production")
_STEPS = ("urls", "sms", "link", "finish")
_SEEN, _REMEMBERED_S = "setup", 90 * 24 * 3600
"""Cookie: the step that was open last."""


def resume(visit: Visit) -> func.HttpResponse:
    """The step that this browser saw last; a colleague's, the first that is not done."""
    under_way = next((one for one in numbers.operations(visit.scope) if not one.over), None)
    if under_way:
        return visit.go(f"/portal/numbers/orders/{under_way.id}")
    present = [one.value for one in tenants.connections(visit.scope)]
    steps = [step for step in _STEPS if step not in done(present, tenants.senders(visit.scope))]
    seen = web.read_cookie(visit.request, _SEEN)
    return visit.go(f"/portal/setup/{seen if present and seen in _STEPS else steps[0]}")


def _step(
    visit: Visit, template: str, present: list[Connection], senders: list[Sender], **shown: Any
) -> func.HttpResponse:
    """The page of a step, which this browser remembers."""
    step = template.removeprefix("portal/setup_").removesuffix(".html")
    seen = web.cookie(_SEEN, step, max_age_s=_REMEMBERED_S, path="/portal")
    shown = {"step": step, "done": done(present, senders), "senders": senders, **shown}
    return visit.page(template, cookies=(seen,), **shown)


def done(connections: list[Connection], senders: list[Sender]) -> set[str]:
    """Steps that hold something. SMS may be left out, so its steps never stand in the way of another."""
    linked = any(one.sender_id for one in connections)
    return {
        *(["urls"] if connections else []),
        *(["sms"] if senders else []),
        *(["link"] if linked else []),
    }


def urls(visit: Visit) -> func.HttpResponse:
    """Add FHIR base URLs: validate as often as one likes, then Done."""
    if not visit.posted:
        return _urls(visit, typed=None)
    typed = {name: visit.fields.get(name, "").strip() for name in _TYPED}
    released = "release_confirmed" in visit.fields
    wanted, errors = _input(typed, released=released)
    adding = visit.fields.get("do") == "add"
    if not adding:
        errors = {name: errors[name] for name in ("fhir_base_url", "environment") if name in errors}
    if errors:
        return _urls(visit, typed, released=released, status=422, errors=errors)
    found = checks.validate_base(
        visit.services,
        visit.scope,
        typed["fhir_base_url"],
        environment="production" if typed["environment"] == "production" else "test",
        patient_base=typed["patient_fhir_base_url"] or None,
        release_confirmed=released,
    )
    blocked = any(check.state == "fail" and check.id in _BLOCKING for check in found)
    if not adding or blocked or wanted is None:
        status, wrong = 422 if adding else 200, _at_fields(visit, found)
        return _urls(visit, typed, released=released, status=status, errors=wrong, found=found, blocked=blocked)
    try:
        made = tenants.add_connection(visit.services.directory, visit.scope, wanted, visit.actor)
    except RefusedError as error:
        return _urls(visit, typed, released=released, status=error.status, errors=_own(error))
    return visit.go(visit.path, added=made.value.id)


def _input(typed: Mapping[str, str], *, released: bool) -> tuple[ConnectionInput | None, dict[str, str]]:
    filled: dict[str, Any] = {**typed, "release_confirmed": released}
    filled["patient_fhir_base_url"] = typed["patient_fhir_base_url"] or None
    filled["name"] = typed["name"] or typed["clinic_name"]
    try:
        return ConnectionInput.model_validate(filled), {}
    except ValidationError as error:
        errors = forms.on_fields(tenants.faults(error), _TYPED)
        if not typed["name"]:
            errors.pop("name", None)
        if typed["environment"] not in _ENVIRONMENTS:
            errors["environment"] = N_("choose one of them")
        return None, errors


def _at_fields(visit: Visit, found: list[Check]) -> dict[str, str]:
    """What a check found wrong with a field, in the reader's language."""
    wrong: dict[str, str] = {}
    for check in found:
        if check.state == "fail" and check.id in _BLOCKING:
            wrong.setdefault(_FIELD_OF.get(check.id, "fhir_base_url"), check.formatted(visit.language.gettext).seen)
    return wrong


def _own(error: RefusedError) -> dict[str, str]:
    return forms.on_fields(error.details, _TYPED) or {"": error.message}


def _urls(
    visit: Visit,
    typed: Mapping[str, str] | None,
    *,
    released: bool = False,
    status: int = 200,
    errors: Mapping[str, str] | None = None,
    found: list[Check] | None = None,
    blocked: bool = False,
) -> func.HttpResponse:
    present = [one.value for one in tenants.connections(visit.scope)]
    first = present[0] if present else None
    fresh = {name: "" for name in _TYPED}
    if first:
        fresh |= {"clinic_name": first.clinic_name, "contact_phone": first.contact_phone}
    return _step(
        visit,
        "portal/setup_urls.html",
        present,
        tenants.senders(visit.scope),
        status=status,
        connections=present,
        added=next((one for one in present if one.id == visit.asked("added")), None),
        typed=typed or fresh,
        released=released,
        errors=errors or {},
        found=[check.formatted(visit.language.gettext) for check in found or () if check.id not in _LATER],
        blocked=blocked,
    )


def sms(visit: Visit) -> func.HttpResponse:
    """Two consents, then a number. Both may be left out: visits work without text messages."""
    if not visit.posted:
        return _sms(visit)
    if visit.fields.get("do") == "buy":
        outcome = numbers_pages.buy(visit)
        return outcome if isinstance(outcome, func.HttpResponse) else _sms(visit, *outcome)
    missing = tenants.missing_consents(visit.scope)
    versions = {kind: visit.fields.get(f"consents.{kind}", "") for kind in missing}
    unticked = {f"consents.{kind}": N_("agree to this first") for kind, version in versions.items() if not version}
    if unticked:
        return _sms(visit, 422, unticked)
    try:
        tenants.give_consents(visit.scope, versions, visit.actor)
    except RefusedError as error:
        return _sms(visit, error.status, {f"consents.{kind}": said for kind, said in error.details.items()})
    return visit.go(visit.path, consented="1")


def _sms(visit: Visit, status: int = 200, errors: Mapping[str, str] | None = None) -> func.HttpResponse:
    present, senders = [one.value for one in tenants.connections(visit.scope)], tenants.senders(visit.scope)
    consents = tenants.consent_state(visit.scope)
    return _step(
        visit,
        "portal/setup_sms.html",
        present,
        senders,
        status=status,
        consents=consents,
        people=people.names(visit, [consent.by for consent in consents.given]),
        consented=bool(visit.asked("consented")),
        withdrawn=bool(visit.asked("withdrawn")),
        linked={one.sender_id for one in present},
        typed=visit.fields,
        errors=errors or {},
        **numbers_pages.purchase(visit, visit.fields),
    )


def withdraw(visit: Visit) -> func.HttpResponse:
    """Take the consents back: what stops is said first, and Microsoft asks again who it is."""
    if not visit.posted:
        return visit.page(
            "portal/setup_withdraw.html",
            step="sms",
            done=done([one.value for one in tenants.connections(visit.scope)], tenants.senders(visit.scope)),
            given=tenants.consents(visit.scope),
            stops=tenants.withdrawal_consequences(visit.scope),
            confirmed=visit.who.confirmed,
        )
    if not visit.who.confirmed:
        return visit.go("/portal/signin", why="confirm", to=visit.path)
    for off in tenants.withdraw_consents(visit.scope, visit.actor):
        messages.configured(visit.scope, off, clock.now())
    return visit.go("/portal/setup/sms", withdrawn="1")


def link(visit: Visit) -> func.HttpResponse:
    """Which number texts for which FHIR base URL; one may serve many."""
    present = tenants.connections(visit.scope)
    if not visit.posted:
        return _link(visit)
    errors: dict[str, str] = {}
    for found in present:
        chosen = visit.fields.get(f"sender.{found.value.id}")
        if chosen is None or (chosen or None) == found.value.sender_id:
            continue
        etag = visit.fields.get(f"etag.{found.value.id}", "")
        try:
            tenants.link_sender(visit.scope, found.value.id, etag, chosen or None, visit.actor)
        except RefusedError as error:
            errors[f"sender.{found.value.id}"] = error.details.get("sender_id", error.message)
    return _link(visit, status=409, errors=errors) if errors else visit.go("/portal/setup/finish")


def _link(visit: Visit, *, status: int = 200, errors: Mapping[str, str] | None = None) -> func.HttpResponse:
    present = tenants.connections(visit.scope)
    return _step(
        visit,
        "portal/setup_link.html",
        [one.value for one in present],
        tenants.senders(visit.scope),
        status=status,
        connections=present,
        typed=visit.fields,
        errors=errors or {},
    )


def finish(visit: Visit) -> func.HttpResponse:
    """Review: what Cerner needs to be told, and what is still to do."""
    present = [one.value for one in tenants.connections(visit.scope)]
    senders = tenants.senders(visit.scope)
    by_id = {sender.id: sender for sender in senders}
    shown = [_reviewed(visit, one, by_id.get(one.sender_id or "")) for one in present]
    return _step(visit, "portal/setup_finish.html", present, senders, shown=shown)


def _reviewed(visit: Visit, one: Connection, sender: Sender | None) -> dict[str, Any]:
    dates = tenants.checklist(visit.scope, one.id).value
    entered = dates.steps.get("records_entered")
    return {
        "connection": one,
        "sender": sender,
        "records": integration_records(visit.services, visit.scope, one),
        "tasks": tasks(one, dates),
        "entered": bool(entered and entered.done_on),
    }


ROUTES = (
    Route("portal_setup", "portal/setup", resume),
    Route("portal_setup_sms", "portal/setup/sms", sms, ("GET", "POST")),
    Route("portal_setup_withdraw", "portal/setup/sms/withdraw", withdraw, ("GET", "POST")),
    Route("portal_setup_urls", "portal/setup/urls", urls, ("GET", "POST")),
    Route("portal_setup_link", "portal/setup/link", link, ("GET", "POST")),
    Route("portal_setup_finish", "portal/setup/finish", finish),
)
