"""Whom a queue message is about. A hint holds ids that we minted, and may be older than what they name."""

from __future__ import annotations

from collections.abc import Mapping

from connector.errors import RefusedError
from connector.regions import Region
from connector.tenants.models import Connection
from connector.tenants.scope import Directory, TenantScope
from connector.tenants.store import connection


def of_hint(directory: Directory, region: Region, hint: Mapping[str, str]) -> tuple[TenantScope, Connection] | None:
    """The `tenant` and `connection` of a hint that came by the queue of `region`; None for one that is gone.

    Raises PermanentError when the tenant is of another region.
    """
    scope = directory.find(hint["tenant"])
    if scope is None:
        return None
    scope.require_region(region)
    try:
        return scope, connection(scope, hint["connection"]).value
    except RefusedError:
        return None
