"""The tenant itself: its region, the consents, who sends."""

from __future__ import annotations

from connector import clock, messages, numbers, tenants
from connector.errors import RefusedError
from connector.portal.api.operations import Answer, Call, Registry
from connector.tenants import (
    ConsentKind,
    ConsentState,
    Page,
    Sender,
    SenderInput,
    SenderPatch,
    Tenant,
    TenantInput,
    WithdrawalConsequences,
)
from connector.tenants import Versioned as V

api = Registry()


@api.operation("GET", "/tenant", "Your tenant and its region")
def tenant(call: Call) -> Tenant:
    return Tenant(tenant_id=call.scope.tenant_id, region=call.scope.region)


@api.operation("PUT", "/tenant", "Pin your tenant to a region, once and for ever", also=201, needs_tenant=False)
def tenant_pin(call: Call, body: TenantInput) -> Answer[Tenant]:
    directory, tenant_id = call.services.directory, call.caller.tenant_id
    known = directory.find(tenant_id) is not None
    scope = directory.pin(tenant_id, body.region)
    return Answer(Tenant(tenant_id=tenant_id, region=scope.region), status=200 if known else 201)


@api.operation("GET", "/consents", "The two consents to text patients: given and missing")
def consents(call: Call) -> ConsentState:
    return tenants.consent_state(call.scope)


@api.operation("PUT", "/consents", "Agree to conditions, by the version of the words that were read")
def consents_give(call: Call, body: dict[ConsentKind, str]) -> ConsentState:
    tenants.give_consents(call.scope, body, call.actor)
    return tenants.consent_state(call.scope)


@api.operation("GET", "/consents/consequences", "What would stop if the consents were withdrawn")
def consents_consequences(call: Call) -> WithdrawalConsequences:
    return tenants.withdrawal_consequences(call.scope)


@api.operation("DELETE", "/consents", "Withdraw both: every connection's messages are switched off at once")
def consents_withdraw(call: Call) -> ConsentState:
    for off in tenants.withdraw_consents(call.scope, call.actor):
        messages.configured(call.scope, off, clock.now())
    return tenants.consent_state(call.scope)


@api.operation("GET", "/senders", "Numbers and names that patients see")
def senders(call: Call) -> Page[Sender]:
    return call.page((one.id, one) for one in tenants.senders(call.scope))


@api.operation("POST", "/senders", "Add a number or a name that your organization has already", status=201)
def senders_add(call: Call, body: SenderInput) -> Answer[V[Sender]]:
    made = tenants.add_sender(call.scope, body, call.actor)
    return Answer(tenants.versioned_sender(call.scope, made.id), location=f"/senders/{made.id}")


@api.operation("GET", "/senders/{sender}", "A sender")
def sender(call: Call) -> V[Sender]:
    return tenants.versioned_sender(call.scope, call.param("sender"))


@api.operation("PATCH", "/senders/{sender}", "Name a sender, or record its verification", if_match=True)
def sender_change(call: Call, body: SenderPatch) -> V[Sender]:
    return tenants.change_sender(call.scope, call.param("sender"), call.etag, body, call.actor)


@api.operation("DELETE", "/senders/{sender}", "Remove a sender; a number bought here is released instead",
               if_match=True)  # fmt: skip
def sender_remove(call: Call) -> None:
    found = tenants.versioned_sender(call.scope, call.param("sender")).value
    if any(one.number == found.value for one in numbers.bought(call.scope)):
        raise RefusedError(
            "sender.bought",
            "This number was bought here and is paid for until it is released. Release it under phone numbers.",
            status=409,
            title="Release the number",
        )
    tenants.remove_sender(call.scope, found.id, call.etag, call.actor)
