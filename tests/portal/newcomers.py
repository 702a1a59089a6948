"""Hospitals that nobody has configured yet: as many as tests need, each with people and a Cerner domain of its own."""

from __future__ import annotations

import copy
import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from sandbox.cast import CEDAR
from sandbox.world import Hospital
from tests.running import Live

TENANTS = "CONNECTOR_TENANTS"


def hospital(name: str) -> Hospital:
    """CEDAR once more, under other ids."""

    def other(identity: str) -> str:
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{name} {identity}"))

    return replace(
        CEDAR,
        key=name,
        name=f"{CEDAR.name} {name}",
        tid=other(CEDAR.tid),
        ehr_tenant=other(CEDAR.ehr_tenant),
        clinicians=tuple(replace(c, entra_oid=other(c.entra_oid), upn=f"{name}.{c.upn}") for c in CEDAR.clinicians),
        users=tuple(replace(u, oid=other(u.oid), upn=f"{name}.{u.upn}") for u in CEDAR.users),
        organizers=tuple(replace(o, oid=other(o.oid), upn=f"{name}.{o.upn}") for o in CEDAR.organizers),
    )


@contextmanager
def listed(live: Live, *names: str) -> Iterator[dict[str, Hospital]]:
    """The operator lists them, and the app knows it; their FHIR bases exist."""
    made = {name: hospital(name) for name in names}
    world, sandbox = live.world, live.sandbox
    with world.lock:
        for one in made.values():
            world.hospitals[one.key] = one
            world.resources[one.ehr_tenant] = copy.deepcopy(world.resources[CEDAR.ehr_tenant])
            world.access_policy |= {organizer.oid for organizer in one.organizers}
    bases = {
        one.tid: [world.ports.fhir_base(one.ehr_tenant), world.ports.patient_fhir_base(one.ehr_tenant)]
        for one in made.values()
    }
    known = sandbox.app_environment_overrides[TENANTS]
    sandbox.app_environment_overrides[TENANTS] = json.dumps(json.loads(known) | bases)
    sandbox.restart_app()
    try:
        yield made
    finally:
        sandbox.app_environment_overrides[TENANTS] = known
        sandbox.restart_app()
        with world.lock:
            for one in made.values():
                del world.hospitals[one.key]
                del world.resources[one.ehr_tenant]
