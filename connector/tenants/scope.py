"""The only door to a tenant's storage: a scope knows its tenant's one region and refuses every other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from connector.adapters.queues import Queues
from connector.adapters.tables import Row, RowExists, Tables
from connector.errors import PermanentError, RefusedError, Text
from connector.keys import CONNECTION_ID, Wrapper, index
from connector.regions import Region, region_of
from connector.settings import Settings

DIRECTORY = "Directory"
CONFIGURATION = "Configuration"


@dataclass(frozen=True)
class RegionalStorage:
    """Tables and queues of each region that the stamp serves."""

    tables: Mapping[Region, Tables]
    queues: Mapping[Region, Queues]

    @classmethod
    def of(cls, settings: Settings) -> RegionalStorage:
        return cls(
            {served.region: Tables(served) for served in settings.regions},
            {served.region: Queues(served) for served in settings.regions},
        )


@dataclass(frozen=True)
class TenantScope:
    """A tenant with the storage of its region. Made by `Directory` alone."""

    tenant_id: str
    region: Region
    tables: Tables
    queues: Queues
    _wrapper: Wrapper
    _index_keys: dict[str, bytes] = field(default_factory=dict)
    recent: dict[str, tuple[int, float, Any]] = field(default_factory=dict, compare=False, repr=False)
    """What `connector.tenants.recent` keeps for a moment."""

    def require_region(self, region: Region) -> None:
        """Raises PermanentError for any region but the tenant's own."""
        if region is not self.region:
            raise PermanentError("tenant.other_region")

    def index(self, purpose: str, *parts: str) -> str:
        """The keyed name of a thing under the tenant's index key for `purpose` (visit, meeting, link)."""
        if purpose not in self._index_keys:
            self._read_index_keys()
        if purpose not in self._index_keys:
            self._index_keys[purpose] = self._index_key(purpose)
        return index(self._index_keys[purpose], *parts)

    def _read_index_keys(self) -> None:
        """All of the tenant at once: a process that needs one soon needs them all."""
        for row in self.tables.query(CONFIGURATION, self.tenant_id, start="key.", end="key/"):
            purpose = row.key.removeprefix("key.")
            self._index_keys[purpose] = self._unwrapped(row, purpose)

    def wrap(self, value: bytes, name: str) -> str:
        """A secret of the tenant as storage keeps it, under the stamp's wrapping keys; opens only under its name."""
        return self._wrapper.wrap(value, context=f"{self.tenant_id}|{name}")

    def unwrap(self, wrapped: str, name: str) -> bytes:
        """Raises NotOpened."""
        return self._wrapper.unwrap(wrapped, context=f"{self.tenant_id}|{name}")

    def _index_key(self, purpose: str) -> bytes:
        """Random for each tenant and purpose; whoever inserts first makes it, everybody uses that one."""
        import secrets

        wrapped = self._wrapper.wrap(secrets.token_bytes(32), context=f"{self.tenant_id}|{purpose}")
        row = Row(self.tenant_id, f"key.{purpose}", {"wrapped": wrapped})
        try:
            self.tables.insert(CONFIGURATION, row)
        except RowExists:
            row = self.tables.get(CONFIGURATION, self.tenant_id, f"key.{purpose}") or row
        return self._unwrapped(row, purpose)

    def _unwrapped(self, row: Row, purpose: str) -> bytes:
        return self._wrapper.unwrap(row.text("wrapped"), context=f"{self.tenant_id}|{purpose}")


def wrapping_context(row: Row) -> str:
    """To what a `wrapped` value of Configuration is bound: an index key to its purpose, a secret to its name."""
    return f"{row.partition}|{row.key.removeprefix('key.')}"


class Directory:
    """Which region a tenant is pinned to, and which tenant a connection belongs to.

    The insert-once row (tenant id, region, nothing else) stands in the storage of the first region in
    CONNECTOR_REGIONS, which therefore must stay first.
    """

    def __init__(self, settings: Settings, storage: RegionalStorage) -> None:
        self._settings = settings
        self._storage = storage
        self._wrapper = Wrapper(settings.wrapping_keys)
        self._home = storage.tables[settings.regions[0].region]
        self._scopes: dict[str, TenantScope] = {}
        self._connections: dict[str, str] = {}

    def pin(self, tenant_id: str, region: Region) -> TenantScope:
        """Pin a tenant to a region, once and for ever. Raises RefusedError when it is pinned to another."""
        if self._settings.listed_bases(tenant_id) is None:
            raise RefusedError(
                "tenant.unlisted",
                "Your organization is not on this service's list. Ask the operator to add your Microsoft tenant.",
                status=403,
                title="Not listed yet",
            )
        if not self._settings.serves(region):
            raise RefusedError(
                "tenant.region_not_served",
                "This deployment does not serve that region.",
                status=409,
                title="Region not served here",
            )
        try:
            self._home.insert(DIRECTORY, Row("tenant", tenant_id, {"region": region.value}))
        except RowExists:
            pass
        scope = self.scope(tenant_id)
        if scope.region is not region:
            raise RefusedError(
                "tenant.region_fixed",
                Text(
                    "Your organization's data is pinned to %(region)s; the region cannot change.", region=scope.region
                ),
                status=409,
                title="Region is fixed",
            )
        return scope

    def find(self, tenant_id: str) -> TenantScope | None:
        """The tenant's scope, or None when it was never pinned. A tenant taken off the list has none."""
        return None if self._settings.listed_bases(tenant_id) is None else self._pinned(tenant_id)

    def _pinned(self, tenant_id: str) -> TenantScope | None:
        known = self._scopes.get(tenant_id)
        if known is not None:
            return known
        row = self._home.get(DIRECTORY, "tenant", tenant_id)
        if row is None:
            return None
        region = Region(row.text("region"))
        if not self._settings.serves(region):
            return None
        scope = TenantScope(
            tenant_id, region, self._storage.tables[region], self._storage.queues[region], self._wrapper
        )
        return self._scopes.setdefault(tenant_id, scope)

    def scope(self, tenant_id: str) -> TenantScope:
        """Raises RefusedError (404) when the tenant is unknown."""
        scope = self.find(tenant_id)
        if scope is None:
            raise RefusedError(
                "tenant.unknown", "Your organization is not set up here yet.", status=404, title="Not set up yet"
            )
        return scope

    def add_connection(self, scope: TenantScope, connection_id: str) -> None:
        """Raises RowExists when the id is taken."""
        scope.tables.insert(DIRECTORY, Row("connection", connection_id, {"tenant_id": scope.tenant_id}))

    def forget_connection(self, scope: TenantScope, connection_id: str) -> None:
        """Its id is never given out again, for ids are random. Forgetting it twice is harmless."""
        row = scope.tables.get(DIRECTORY, "connection", connection_id)
        if row is not None:
            scope.tables.delete(DIRECTORY, row)
        self._connections.pop(connection_id, None)

    def scope_of_connection(self, connection_id: str) -> TenantScope:
        """Raises RefusedError (404) when there is no such connection."""
        if not CONNECTION_ID.fullmatch(connection_id):
            raise unknown_connection()
        tenant_id = self._connections.get(connection_id)
        if tenant_id is None:
            region = region_of(connection_id)
            tables = self._storage.tables.get(region)
            row = tables.get(DIRECTORY, "connection", connection_id) if tables else None
            if row is None:
                raise unknown_connection()
            tenant_id = self._connections[connection_id] = row.text("tenant_id")
        scope = self.find(tenant_id)
        if scope is None:
            raise unknown_connection()
        scope.require_region(region_of(connection_id))
        return scope

    def scopes(self) -> list[TenantScope]:
        """Every pinned tenant on the operator's list, for the timers."""
        return [scope for tenant_id in self._settings.tenants if (scope := self.find(tenant_id)) is not None]

    def every_scope(self) -> list[TenantScope]:
        """Every pinned tenant, listed or not: what was promised to be forgotten is forgotten all the same."""
        rows = self._home.query(DIRECTORY, "tenant")
        return [scope for row in rows if (scope := self._pinned(row.key)) is not None]


def unknown_connection() -> RefusedError:
    return RefusedError(
        "connection.unknown",
        "This launch address belongs to no connection. The record in your EHR may have been copied from another "
        "system; your administrator finds the right one in the configuration portal under integration records.",
        status=404,
        title="Connection not found",
    )
