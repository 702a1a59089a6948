"""Connections, and what belongs to one: departments, sender, credentials, user links, integration records."""

from __future__ import annotations

from typing import get_args

from connector import launch, tenants
from connector.errors import RefusedError
from connector.launch import LinkedUser
from connector.portal.api.operations import Answer, Call, Registry
from connector.portal.ehr_values import NamedLocation, SeenTypes, named_locations, seen_types
from connector.portal.records import IntegrationRecords, integration_records
from connector.tenants import (
    Checklist,
    Connection,
    ConnectionInput,
    ConnectionPatch,
    Consequences,
    CredentialInput,
    Department,
    Page,
    Persona,
    SenderLink,
)
from connector.tenants import Versioned as V

api = Registry()
ONE = "/connections/{connection}"
_UNTOUCHED = '"none"'
"""ETag of a checklist that nobody has written yet."""


@api.operation("GET", "/connections", "Connections")
def connections(call: Call) -> Page[Connection]:
    return call.page((one.value.id, one.value) for one in tenants.connections(call.scope))


@api.operation("POST", "/connections", "Add a connection", status=201)
def connections_add(call: Call, body: ConnectionInput) -> Answer[V[Connection]]:
    if "scopes_version" not in body.model_fields_set:
        body = body.model_copy(update={"scopes_version": call.services.settings.smart_scopes_version})
    made = tenants.add_connection(call.services.directory, call.scope, body, call.actor)
    return Answer(made, location=f"/connections/{made.value.id}")


@api.operation("GET", ONE, "A connection")
def connection(call: Call) -> V[Connection]:
    return tenants.connection(call.scope, call.connection_id)


@api.operation("PATCH", ONE, "Change a connection; `active` switches it off and on", if_match=True)
def connection_change(call: Call, body: ConnectionPatch) -> V[Connection]:
    return call.configured(
        tenants.change_connection(call.scope, call.connection_id, call.etag, body, call.actor)
    )


@api.operation("GET", f"{ONE}/consequences", "What would go with the connection if it were deleted")
def connection_consequences(call: Call) -> Consequences:
    return tenants.consequences(call.scope, call.connection_id)


@api.operation("DELETE", ONE, "Delete a connection with everything that is stored for it", if_match=True)
def connection_delete(call: Call) -> None:
    tenants.delete_connection(call.scope, call.connection_id, call.etag, call.actor)


@api.operation("GET", f"{ONE}/departments", "Departments")
def departments(call: Call) -> V[list[Department]]:
    found = tenants.connection(call.scope, call.connection_id)
    return V(found.value.departments, found.etag)


@api.operation("PUT", f"{ONE}/departments", "Replace the departments", if_match=True)
def departments_set(call: Call, body: list[Department]) -> V[Connection]:
    return call.configured(tenants.set_departments(call.scope, call.connection_id, call.etag, body, call.actor))


@api.operation("PUT", f"{ONE}/sender", "Link a sender", if_match=True)
def sender_link(call: Call, body: SenderLink) -> V[Connection]:
    return call.configured(
        tenants.link_sender(call.scope, call.connection_id, call.etag, body.sender_id, call.actor)
    )


@api.operation("PUT", f"{ONE}/credentials/{{persona}}", "Enter credentials of your own; they are never shown again",
               if_match=True)  # fmt: skip
def credential_set(call: Call, body: CredentialInput) -> V[Connection]:
    return tenants.set_credential(call.scope, call.connection_id, call.etag, _persona(call), body, call.actor)


@api.operation("DELETE", f"{ONE}/credentials/{{persona}}", "Remove credentials of your own", if_match=True)
def credential_remove(call: Call) -> V[Connection]:
    return tenants.remove_credential(call.scope, call.connection_id, call.etag, _persona(call), call.actor)


@api.operation("GET", f"{ONE}/integration-records", "What to enter in Cerner")
def records(call: Call) -> IntegrationRecords:
    return integration_records(call.services, call.scope, call.connection)


@api.operation("GET", f"{ONE}/appointment-types", "Types in the next two days of the departments' schedule", cost=5)
def appointment_types(call: Call) -> SeenTypes:
    return seen_types(call.services, call.scope, call.connection)


@api.operation("GET", f"{ONE}/locations", "What the EHR calls the departments' locations", cost=5)
def locations(call: Call) -> list[NamedLocation]:
    return named_locations(call.services, call.scope, call.connection)


@api.operation("GET", f"{ONE}/checklist", "What takes others days or weeks, with the dates that you noted")
def checklist(call: Call) -> V[Checklist]:
    found = tenants.checklist(call.scope, call.connection_id)
    return V(found.value, found.etag or _UNTOUCHED)


@api.operation("PUT", f"{ONE}/checklist", "Note dates", if_match=True)
def checklist_set(call: Call, body: Checklist) -> V[Checklist]:
    etag = "" if call.etag == _UNTOUCHED else call.etag
    return tenants.set_checklist(call.scope, call.connection_id, etag, body, call.actor)


@api.operation("GET", f"{ONE}/user-links", "Which Microsoft account belongs to which EHR user")
def user_links(call: Call) -> Page[LinkedUser]:
    return launch.user_links(call.scope, call.connection.id, limit=call.limit, after=call.after)


@api.operation("DELETE", f"{ONE}/user-links/{{link}}", "Remove a user link")
def user_link_remove(call: Call) -> None:
    launch.remove_link(call.scope, call.connection.id, call.param("link"), call.actor)


def _persona(call: Call) -> Persona:
    found: dict[str, Persona] = {name: name for name in get_args(Persona)}
    if call.param("persona") not in found:
        raise RefusedError(
            "connection.unknown_persona",
            "The personas are provider, patient and system.",
            status=404,
            title="Not found",
        )
    return found[call.param("persona")]
