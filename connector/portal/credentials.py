"""Own credentials of a tenant with its EHR: entered and removed, never shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import azure.functions as func

from connector import tenants
from connector.errors import RefusedError
from connector.languages import N_
from connector.launch import own_redirect_uri
from connector.portal import forms, settings
from connector.portal.connection import found
from connector.portal.entrance import Route, Visit
from connector.tenants import Connection, CredentialInput, Persona, Versioned

_FIELDS = ("client_id", "method", "client_secret")
_PERSONAS: tuple[Persona, ...] = get_args(Persona)


def credential(visit: Visit) -> func.HttpResponse:
    present = found(visit)
    persona = next((one for one in _PERSONAS if one == visit.part("persona")), None)
    if persona is None:
        raise RefusedError(
            "portal.unknown", N_("There is nothing at this address."), status=404, title=N_("Page not found")
        )
    if not visit.posted:
        return _shown(visit, present, persona)
    typed = {"client_id": visit.fields.get("client_id", "").strip(), "method": visit.fields.get("method", "")}

    def change(etag: str) -> Versioned[Connection]:
        if visit.fields.get("do") == "remove":
            return tenants.remove_credential(visit.scope, present.value.id, etag, persona, visit.actor)
        # named so that the page that keeps a form for after the sign-in leaves it out
        secret = visit.fields.get("secret.client_secret", "") if typed["method"] == "client_secret_basic" else ""
        wanted = CredentialInput.model_validate({**typed, "client_secret": secret or None})
        return tenants.set_credential(visit.scope, present.value.id, etag, persona, wanted, visit.actor)

    refused = settings.attempt(visit, change)
    if refused is None:
        return visit.go(f"/portal/connections/{present.value.id}/access", saved="1")
    status, details = refused
    errors = forms.on_fields(details, _FIELDS)
    if "client_secret" in errors:
        errors["secret.client_secret"] = errors.pop("client_secret")
    return _shown(visit, found(visit), persona, status=status, typed=typed, errors=errors)


def _shown(
    visit: Visit,
    present: Versioned[Connection],
    persona: Persona,
    *,
    status: int = 200,
    typed: Mapping[str, Any] | None = None,
    errors: Mapping[str, str] | None = None,
) -> func.HttpResponse:
    kept = present.value.credentials.get(persona)
    shown = {
        "client_id": kept.client_id if kept else "",
        "method": kept.method if kept else present.value.client_authentication,
    }
    return visit.page(
        "portal/connection_credential.html",
        status=status,
        connection=present.value,
        etag=present.etag,
        tab="access",
        persona=persona,
        kept=kept,
        redirect_uri=None if persona == "system" else own_redirect_uri(visit.services, present.value),
        typed=typed or shown,
        errors=errors or {},
        **settings.meanwhile(visit, present.value.id, status),
    )


ROUTES = (
    Route(
        "portal_connection_credential",
        "portal/connections/{connection}/credentials/{persona}",
        credential,
        ("GET", "POST"),
    ),
)
