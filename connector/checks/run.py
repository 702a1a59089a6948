"""Running the checks: of an address before it is a connection, and of a connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import ValidationError

from connector.checks import fhir
from connector.checks.models import Check, found
from connector.tenants import Connection, Department, TenantScope

if TYPE_CHECKING:
    from connector.bootstrap import Services


def validate_base(
    services: Services,
    scope: TenantScope,
    base: str,
    *,
    environment: Literal["test", "production"],
    patient_base: str | None = None,
    scopes_version: Literal["v1", "v2"] | None = None,
    client_authentication: Literal["client_secret_basic", "private_key_jwt"] = "client_secret_basic",
    departments: tuple[Department, ...] = (),
    release_confirmed: bool = False,
) -> list[Check]:
    """The checks of a FHIR base URL as it was typed, before there is a connection. Stores nothing, raises nothing of
    the vendor's; takes some seconds, and up to a few minutes with a server that answers slowly."""
    typed = base.strip()
    wrong = fhir.malformed(services, typed)
    if wrong is not None:
        return [wrong]
    try:
        subject = Connection(
            id="", name="new", clinic_name="new", contact_phone="new", environment=environment, fhir_base_url=typed,
            patient_fhir_base_url=(patient_base or "").strip() or None, departments=list(departments),
            scopes_version=scopes_version or services.settings.smart_scopes_version,
            client_authentication=client_authentication,
        )  # fmt: skip
    except ValidationError as error:
        patient = error.errors()[0]["loc"][0] == "patient_fhir_base_url"
        return [found("patient.base" if patient else "fhir.address", "malformed")]
    return fhir.check_base(services, scope, subject, release_confirmed=release_confirmed)
