"""Phone numbers: generate one and watch it come, name it, note its verification, give it back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import azure.functions as func
from pydantic import ValidationError

from connector import numbers, tenants
from connector.errors import RefusedError
from connector.numbers import NumberInput
from connector.portal import entrance, forms
from connector.portal.entrance import Route, Visit
from connector.tenants import Sender, SenderInput, SenderPatch, Verification, Versioned

_BUY = ("kind", "area_code", "number_label")
_ADD = ("add.kind", "add.value", "add.label")
_CHANGE = ("label", "verification.state", "verification.submitted_on", "verification.decided_on")
Refusal = tuple[int, dict[str, str]]


def overview(visit: Visit) -> func.HttpResponse:
    """All numbers and names, what may be bought, and a way to enter those that exist already."""
    if not visit.posted:
        return _overview(visit)
    if visit.fields.get("do") == "buy":
        outcome = buy(visit)
        return outcome if isinstance(outcome, func.HttpResponse) else _overview(visit, outcome)
    if visit.fields.get("do") != "add":
        raise entrance.unknown_action()
    typed = {name: visit.fields.get(name, "").strip() for name in _ADD}
    try:
        wanted = SenderInput.model_validate({name.removeprefix("add."): value for name, value in typed.items()})
        tenants.add_sender(visit.scope, wanted, visit.actor)
    except (ValidationError, RefusedError) as error:
        status, details = _refusal(error)
        return _overview(visit, (status, {f"add.{path}" if path else path: said for path, said in details.items()}))
    return visit.go(visit.path, saved="1")


def buy(visit: Visit) -> func.HttpResponse | Refusal:
    """Begin the purchase that the form asks for, after the person proved again who they are."""
    if not visit.who.confirmed:
        return visit.go("/portal/signin", why="confirm", to=visit.path)
    area = visit.fields.get("area_code", "").strip()
    try:
        wanted = NumberInput.model_validate(
            {
                "kind": visit.fields.get("kind", ""),
                "area_code": area or None,
                "label": visit.fields.get("number_label", ""),
            }
        )
        begun = numbers.start(visit.services, visit.scope, wanted, visit.actor)
    except (ValidationError, RefusedError) as error:
        status, details = _refusal(error)
        return status, {"number_label" if path == "label" else path: said for path, said in details.items()}
    return visit.go(f"/portal/numbers/orders/{begun.id}")


def purchase(visit: Visit, typed: Mapping[str, str]) -> dict[str, Any]:
    """What the form that generates a number shows."""
    held, allowed = numbers.allowance(visit.services, visit.scope)
    orders = numbers.operations(visit.scope)
    return {
        "held": held,
        "allowed": allowed,
        "under_way": next((one for one in orders if not one.over), None),
        "failed": next((one for one in orders[:1] if one.state == "failed"), None),
        "missing_consents": bool(tenants.missing_consents(visit.scope)),
        "confirmed": visit.who.confirmed,
        "wanted": {name: typed.get(name, "") for name in _BUY},
    }


def order(visit: Visit) -> func.HttpResponse:
    """A purchase or a release, as far as it is; the page follows it, with scripts or without."""
    found = numbers.operation(visit.scope, visit.part("order"))
    return visit.page("portal/number_order.html", order=found, senders=tenants.senders(visit.scope))


def sender(visit: Visit) -> func.HttpResponse:
    """One number or name: its label, its verification, giving it back."""
    present = tenants.versioned_sender(visit.scope, visit.part("sender"))
    if not visit.posted:
        return _sender(visit, present)
    try:
        if visit.fields.get("do") == "remove":
            return _remove(visit, present.value)
        tenants.change_sender(visit.scope, present.value.id, visit.fields.get("etag", ""), _patch(visit), visit.actor)
    except (ValidationError, RefusedError) as error:
        if isinstance(error, RefusedError) and error.status == 404:
            raise
        status, details = _refusal(error)
        typed = {name: visit.fields.get(name, "").strip() for name in (*_CHANGE, "confirm")}
        current = tenants.versioned_sender(visit.scope, present.value.id)
        return _sender(visit, current, status=status, typed=typed, errors=details)
    return visit.go(visit.path, saved="1")


def _patch(visit: Visit) -> SenderPatch:
    typed = {name.removeprefix("verification."): visit.fields.get(name, "").strip() or None for name in _CHANGE}
    label, state = typed.pop("label") or "", typed["state"]
    return SenderPatch.model_validate({"label": label, **({"verification": typed} if state else {})})


def _remove(visit: Visit, gone: Sender) -> func.HttpResponse:
    """Bought here, it goes back to Azure; added by hand, it is only forgotten."""
    if not visit.who.confirmed:
        return visit.go("/portal/signin", why="confirm", to=visit.path)
    if gone.value in _bought(visit):
        begun = numbers.release(visit.scope, gone.value, visit.fields.get("confirm", ""), visit.actor)
        return visit.go(f"/portal/numbers/orders/{begun.id}")
    tenants.remove_sender(visit.scope, gone.id, visit.fields.get("etag", ""), visit.actor)
    return visit.go("/portal/numbers", saved="1")


def _refusal(error: ValidationError | RefusedError) -> Refusal:
    if isinstance(error, ValidationError):
        return 422, tenants.faults(error)
    return error.status, error.details or {"": error.message}


def _bought(visit: Visit) -> set[str]:
    return {one.number for one in numbers.bought(visit.scope) if one.number}


def _overview(visit: Visit, refused: Refusal = (200, {})) -> func.HttpResponse:
    status, errors = refused
    linked: dict[str, list[str]] = {}
    for one in tenants.connections(visit.scope):
        linked.setdefault(one.value.sender_id or "", []).append(one.value.name)
    return visit.page(
        "portal/numbers.html",
        status=status,
        senders=tenants.senders(visit.scope),
        linked=linked,
        bought=_bought(visit),
        typed={name: visit.fields.get(name, "") for name in _ADD},
        saved=bool(visit.asked("saved")),
        errors=forms.on_fields(errors, (*_ADD, *_BUY)),
        **purchase(visit, visit.fields),
    )


def _sender(
    visit: Visit,
    present: Versioned[Sender],
    *,
    status: int = 200,
    typed: Mapping[str, str] | None = None,
    errors: Mapping[str, str] | None = None,
) -> func.HttpResponse:
    kept = present.value.verification or Verification(state="unverified")
    shown = {
        "label": present.value.label,
        "verification.state": kept.state,
        "verification.submitted_on": kept.submitted_on.isoformat() if kept.submitted_on else "",
        "verification.decided_on": kept.decided_on.isoformat() if kept.decided_on else "",
        "confirm": "",
    }
    return visit.page(
        "portal/number.html",
        status=status,
        sender=present.value,
        etag=present.etag,
        bought=present.value.value in _bought(visit),
        linked=[one.value for one in tenants.connections(visit.scope) if one.value.sender_id == present.value.id],
        confirmed=visit.who.confirmed,
        typed=typed or shown,
        saved=bool(visit.asked("saved")),
        errors=forms.on_fields(errors or {}, (*_CHANGE, "confirm")),
    )


ROUTES = (
    Route("portal_numbers", "portal/numbers", overview, ("GET", "POST")),
    Route("portal_number", "portal/numbers/{sender}", sender, ("GET", "POST")),
    Route("portal_number_order", "portal/numbers/orders/{order}", order, used=False),
)
