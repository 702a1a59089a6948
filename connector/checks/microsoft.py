"""Is the hospital's Microsoft 365 ready: consent, permissions, licences, organizers, the Teams policy?

Two calls to Graph for each organizer, eight at a time, and three for the tenant.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from connector.checks.models import Check, found
from connector.errors import ConnectorError, PermanentError
from connector.tenants import Connection, TenantScope

if TYPE_CHECKING:
    from connector.adapters.graph_directory import Account
    from connector.bootstrap import Services

REQUIRED = frozenset({"OnlineMeetings.ReadWrite.All"})
USED = frozenset({
    "LicenseAssignment.Read.All", "OnlineMeetings.Read.All", "Organization.Read.All", "User.Read.All",
    "VirtualAppointment.Read.All",
})  # fmt: skip
"""What parts of the service use beside the required: Microsoft Graph permissions reference."""
MONTHLY = 2000
"""Meetings of one account in a month (Microsoft Graph service-specific throttling limits, Cloud communications)."""
HIGH = 1600
_OWN_FAULT = frozenset({"AADSTS7000215", "AADSTS7000222", "AADSTS700027", "AADSTS700213"})
"""Secret wrong or expired, assertion not accepted (Entra authentication error codes)."""
_REST = ("microsoft.licence", "microsoft.organizers", "microsoft.access_policy")
_ACCOUNT, _POLICY = "microsoft.organizers", "microsoft.access_policy"
T = TypeVar("T")


def check_microsoft(services: Services, scope: TenantScope, connection: Connection) -> list[Check]:
    try:
        roles = services.entra.app_roles(scope.tenant_id)
    except ConnectorError as error:
        return [_no_token(error), *_not_asked("microsoft.roles", *_REST)]
    made = [found("microsoft.consent", "given"), _roles(roles)]
    made.append(_licence(services, scope))
    if not connection.organizers:
        return [*made, found(_ACCOUNT, "none"), *_not_asked(_POLICY)]
    accounts, policy = _each(services, scope, connection.organizers)
    return [*made, accounts, policy]


def load(counts: dict[str, int], connection: Connection) -> Check:
    """How many meetings the busiest organizer of a connection had this month; pure."""
    most = max((counts.get(organizer, 0) for organizer in connection.organizers), default=0)
    if not connection.organizers:
        return found("microsoft.load", "not_asked")
    return found("microsoft.load", "full" if most >= MONTHLY else "high" if most >= HIGH else "within", count=most)


def policy_commands(client_id: str, organizers: list[str]) -> str:
    """What a Teams administrator pastes ("Configure application access to online meetings")."""
    name = "VirtualVisits"
    first = f'New-CsApplicationAccessPolicy -Identity {name} -AppIds "{client_id}" -Description "Virtual visits"'
    grants = [f'Grant-CsApplicationAccessPolicy -PolicyName {name} -Identity "{oid}"' for oid in organizers]
    return "\n".join([first, *grants])


def _no_token(error: ConnectorError) -> Check:
    if error.code == "entra.identity_refused" or error.vendor_code in _OWN_FAULT:
        return found("microsoft.consent", "own_credential", code=error.vendor_code or error.code)
    return found("microsoft.consent", "not_given" if error.code == "entra.app_token_refused" else "unanswered")


def _roles(roles: frozenset[str]) -> Check:
    if REQUIRED - roles:
        return found("microsoft.roles", "missing", missing=", ".join(sorted(REQUIRED - roles)))
    if USED - roles:
        return found("microsoft.roles", "partial", missing=", ".join(sorted(USED - roles)))
    return found("microsoft.roles", "granted")


def _licence(services: Services, scope: TenantScope) -> Check:
    answer = _asked(lambda: services.graph_directory.has_teams_licence(scope.tenant_id))
    if isinstance(answer, ConnectorError):
        return _unknown("microsoft.licence", answer, "LicenseAssignment.Read.All")
    return found("microsoft.licence", "licensed" if answer else "none")


def _each(services: Services, scope: TenantScope, organizers: list[str]) -> tuple[Check, Check]:
    directory, tenant_id = services.graph_directory, scope.tenant_id
    with ThreadPoolExecutor(8) as pool:
        accounts = list(pool.map(lambda oid: _asked(lambda: directory.account(tenant_id, oid)), organizers))
        there = [oid for oid, account in zip(organizers, accounts, strict=True) if account is not None]
        allowed = list(pool.map(lambda oid: _asked(lambda: directory.may_act_for(tenant_id, oid)), there))
    return _accounts(dict(zip(organizers, accounts, strict=True))), _policy(
        services.settings.entra_client_id, dict(zip(there, allowed, strict=True))
    )


def _accounts(answers: Mapping[str, Account | ConnectorError | None]) -> Check:
    wrong: dict[str, list[str]] = {"missing": [], "disabled": [], "unlicensed": []}
    failed: ConnectorError | None = None
    for oid, answer in answers.items():
        if isinstance(answer, ConnectorError):
            failed = answer
        elif answer is None:
            wrong["missing"].append(oid)
        elif not answer.enabled:
            wrong["disabled"].append(oid)
        elif not answer.has_teams:
            wrong["unlicensed"].append(oid)
    for finding, oids in wrong.items():
        if oids:
            return found(_ACCOUNT, finding, accounts=", ".join(oids))
    if failed is not None:
        return _unknown(_ACCOUNT, failed, "User.Read.All")
    return found(_ACCOUNT, "ready", count=len(answers))


def _policy(client_id: str, answers: Mapping[str, bool | ConnectorError]) -> Check:
    denied = [oid for oid, answer in answers.items() if answer is False]
    if denied:
        return found(_POLICY, "missing", command=policy_commands(client_id, denied), accounts=", ".join(denied))
    failed = next((answer for answer in answers.values() if isinstance(answer, ConnectorError)), None)
    if failed is not None:
        return _unknown(_POLICY, failed, "OnlineMeetings.ReadWrite.All")
    return found(_POLICY, "granted", count=len(answers)) if answers else found(_POLICY, "not_asked")


def _unknown(check: str, error: ConnectorError, role: str) -> Check:
    if isinstance(error, PermanentError) and error.code == "graph.not_consented":
        return found(check, "not_permitted", role=role)
    return found(check, "unanswered")


def _asked(question: Callable[[], T]) -> T | ConnectorError:
    try:
        return question()
    except ConnectorError as error:
        return error


def _not_asked(*checks: str) -> list[Check]:
    return [found(check, "not_asked") for check in checks]
