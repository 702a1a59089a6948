"""Who may configure: the tenant's Global Administrator or an app role, in the portal and the API alike."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from connector.adapters.entra import GLOBAL_ADMINISTRATOR, ApiCaller
from connector.errors import RefusedError

CONFIGURE = "Connector.Configure"
READ = "Connector.Read"


class Person(Protocol):
    """Whom an ID token proved, with the roles that it named."""

    @property
    def roles(self) -> Collection[str]: ...
    @property
    def directory_roles(self) -> Collection[str]: ...


def may_see_portal(who: Person) -> bool:
    return may_configure(who) or READ in who.roles


def may_configure(who: Person) -> bool:
    return GLOBAL_ADMINISTRATOR in who.directory_roles or CONFIGURE in who.roles


def require_role(caller: ApiCaller, *, write: bool) -> None:
    """Raises RefusedError (403) that names the missing role and who grants it."""
    allowed = {CONFIGURE} if write else {CONFIGURE, READ}
    if allowed & caller.roles:
        return
    role = CONFIGURE if write else READ
    raise RefusedError(
        "api.role_missing",
        f"The access token lacks the app role {role}. An administrator of your "
        "Microsoft tenant assigns it under Enterprise applications.",
        status=403,
        title="Role missing",
    )
