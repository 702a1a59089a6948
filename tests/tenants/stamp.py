"""A stamp over the run's storage, with tenants of its own and nobody at its vendors' addresses."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any, TypeVar

from connector import bootstrap, settings, tenants
from connector.regions import Region
from connector.tenants import Actor, ConnectionInput, TenantScope
from sandbox import stamp
from sandbox.azurite import Azurite
from sandbox.world import REGIONS

ACTOR = Actor("0d4f7a91-6b2c-4e38-9f15-a7c3d8e20b61")
KEYS = {name: stamp.fresh_key("sandbox-k") for name in ("CONNECTOR_SEALING_KEYS", "CONNECTOR_WRAPPING_KEYS")}
BASE = "http://127.0.0.1:1/r4/e61c94a7"
T = TypeVar("T")


def build(azurite: Azurite, *tenant_ids: str, regions: str = ",".join(REGIONS), **changes: str) -> bootstrap.Services:
    """Call it twice for two workers: they share storage and keys, and remember nothing of each other."""
    nowhere = "http://127.0.0.1:1"
    environment = {
        "CONNECTOR_ENVIRONMENT": "sandbox",
        "CONNECTOR_PUBLIC_URL": nowhere,
        "CONNECTOR_REGIONS": regions,
        "CONNECTOR_TENANTS": json.dumps({tenant_id: [BASE] for tenant_id in tenant_ids}),
        "ENTRA_AUTHORITY": nowhere,
        "ENTRA_CLIENT_ID": "e1b5c8d4-07f2-4a69-8d3b-f6027c9e41a8",
        "ENTRA_CLIENT_SECRET": "none",
        "GRAPH_URL": nowhere,
        **{f"SMART_{who}_CLIENT_ID": "none" for who in ("PROVIDER", "PATIENT", "SYSTEM")},
        **{f"{region.upper()}_STORAGE": azurite.connection_string(region) for region in REGIONS},
        **KEYS,
    }
    return bootstrap.build(settings.load(environment | changes))


def tenant_id() -> str:
    return str(uuid.uuid4())


def pinned(azurite: Azurite, region: Region = Region.AMERICAS) -> tuple[bootstrap.Services, TenantScope]:
    """A stamp with one fresh tenant."""
    fresh = tenant_id()
    services = build(azurite, fresh)
    return services, services.directory.pin(fresh, region)


def wanted(name: str = "Live", **changes: Any) -> ConnectionInput:
    values = {"name": name, "environment": "production", "fhir_base_url": BASE, "clinic_name": "Clinic",
              "contact_phone": "+13122346700", "organizers": ["5b18f6c4-d92e-4a03-b7e5-06c4d3a81f29"]}
    return ConnectionInput(**values | changes)


def connected(services: bootstrap.Services, scope: TenantScope, **changes: Any) -> tenants.Versioned[Any]:
    return tenants.add_connection(services.directory, scope, wanted(**changes), ACTOR)


def agree(scope: TenantScope) -> None:
    """Give the two consents to text patients."""
    tenants.give_consents(scope, {kind: text.version for kind, text in tenants.CONSENTS.items()}, ACTOR)


def verified(scope: TenantScope, sender_id: str) -> None:
    """Carriers have verified a toll-free number, as its admin recorded."""
    found = tenants.versioned_sender(scope, sender_id)
    patch = tenants.SenderPatch(verification=tenants.Verification(state="verified"))
    tenants.change_sender(scope, sender_id, found.etag, patch, ACTOR)


def audit(scope: TenantScope) -> Counter[str]:
    """How often each action stands in the tenant's audit."""
    rows = scope.tables.query(tenants.CONFIGURATION, scope.tenant_id, start="audit.", end="audit/")
    return Counter(row.text("action") for row in rows)


def race(tasks: list[Callable[[], T]]) -> list[T | Exception]:
    """Everybody at once; each one's answer or error, in order."""
    start = Barrier(len(tasks))

    def run(task: Callable[[], T]) -> T | Exception:
        start.wait(60)
        try:
            return task()
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(tasks)) as pool:
        return list(pool.map(run, tasks))
