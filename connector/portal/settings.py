"""The settings of a connection, a form for each idea, and what happens when two people save at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import azure.functions as func
from pydantic import ValidationError

from connector import clock, messages, tenants
from connector.errors import RefusedError
from connector.portal import forms, people
from connector.portal.connection import found
from connector.portal.entrance import Visit
from connector.tenants import Connection, ConnectionPatch, Versioned


@dataclass(frozen=True)
class Part:
    """One form: fields of ConnectionPatch, by the way in which they are typed."""

    name: str
    template: str
    texts: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()
    switches: tuple[str, ...] = ()
    more: Callable[[Visit, Connection], dict[str, Any]] = field(default=lambda visit, connection: {})
    """What else the page shows."""
    resolve: Callable[[Visit, dict[str, Any]], dict[str, str]] = field(default=lambda visit, typed: {})
    """Replaces typed values by what is stored; what is wrong with them."""

    @property
    def fields(self) -> tuple[str, ...]:
        return (*self.texts, *self.lists, *self.switches)

    def shown(self, connection: Connection) -> dict[str, Any]:
        values = connection.model_dump()
        shown = {name: "" if values[name] is None else values[name] for name in (*self.texts, *self.switches)}
        return shown | {name: "\n".join(values[name]) for name in self.lists}

    def typed(self, visit: Visit) -> dict[str, Any]:
        typed: dict[str, Any] = {name: visit.fields.get(name, "").strip() for name in (*self.texts, *self.lists)}
        return typed | {name: name in visit.fields for name in self.switches}


def page(part: Part) -> Callable[[Visit], func.HttpResponse]:
    def show(visit: Visit) -> func.HttpResponse:
        present = found(visit)
        if not visit.posted:
            return _shown(visit, part, present)
        typed = part.typed(visit)
        wanted: dict[str, Any] = typed | {name: forms.lines(typed[name]) for name in part.lists}
        if "patient_fhir_base_url" in wanted:
            wanted["patient_fhir_base_url"] = wanted["patient_fhir_base_url"] or None
        wrong = part.resolve(visit, wanted)
        if wrong:
            return _shown(visit, part, present, status=422, typed=typed, errors=forms.on_fields(wrong, part.fields))

        def change(etag: str) -> Versioned[Connection]:
            patch = ConnectionPatch.model_validate(wanted)
            return tenants.change_connection(visit.scope, present.value.id, etag, patch, visit.actor)

        refused = attempt(visit, change)
        if refused is None:
            return visit.go(visit.path, saved="1")
        status, details = refused
        errors = forms.on_fields(details, part.fields)
        return _shown(visit, part, found(visit), status=status, typed=typed, errors=errors)

    return show


def attempt(
    visit: Visit, change: Callable[[str], Versioned[Connection]]
) -> tuple[int, dict[str, str]] | None:
    """Change a connection under the ETag that the form was made with; status and messages when it is refused."""
    try:
        changed = change(visit.fields.get("etag", ""))
    except ValidationError as error:
        return 422, tenants.faults(error)
    except RefusedError as error:
        if error.status == 404:
            raise
        return error.status, error.details or {"": error.message}
    messages.configured(visit.scope, changed.value, clock.now())
    return None


def meanwhile(visit: Visit, connection_id: str, status: int) -> dict[str, Any]:
    """For the page that says what somebody else changed while this form was open."""
    if status != 412:
        return {"meanwhile": None}
    changes = tenants.history(visit.scope, connection_id, limit=1).items
    named = people.names(visit, [change.actor for change in changes])
    return {"meanwhile": changes[0] if changes else None, "people": named}


def _shown(
    visit: Visit,
    part: Part,
    present: Versioned[Connection],
    *,
    status: int = 200,
    typed: Mapping[str, Any] | None = None,
    errors: Mapping[str, str] | None = None,
) -> func.HttpResponse:
    return visit.page(
        part.template,
        status=status,
        connection=present.value,
        etag=present.etag,
        tab=part.name,
        typed=typed or part.shown(present.value),
        saved=bool(visit.asked("saved")),
        errors=errors or {},
        **meanwhile(visit, present.value.id, status),
        **part.more(visit, present.value),
    )
