"""What a FHIR server says it can do: the CapabilityStatement, reduced to what a check of a base URL asks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from connector.adapters.cerner.clean import Always, Shape, clean

_CAPABILITY: Shape = {
    "fhirVersion": str,
    "status": Always("active"),
    "date": Always("2020-01-01"),
    "kind": Always("capability"),
    "format": Always(["json"]),
    "patchFormat": [str],
    "rest": [
        {
            "mode": Always("server"),
            "resource": [
                {
                    "type": str,
                    "interaction": [{"code": str}],
                    "searchParam": [{"name": str, "type": Always("string")}],
                }
            ],
        }
    ],
}


@dataclass(frozen=True)
class Capability:
    """What a FHIR server says it can do (FHIR R4 CapabilityStatement)."""

    fhir_version: str
    interactions: dict[str, frozenset[str]]
    """Resource type to interactions, such as `read` and `search-type`."""
    search_parameters: dict[str, frozenset[str]]
    json_patch: bool
    authorization_endpoint: str | None
    token_endpoint: str | None
    """From the older SMART extension `oauth-uris`, for servers without a smart-configuration."""


def capability(raw: Any) -> tuple[Capability, list[str]]:
    """Of any version of FHIR, for its version is what a wrong address is told apart by; DSTU2 has another name for it,
    and of that one only the version is read."""
    if isinstance(raw, dict) and raw.get("resourceType") == "Conformance":
        return Capability(str(raw.get("fhirVersion") or "")[:20], {}, {}, False, None, None), []
    if isinstance(raw, dict) and isinstance(raw.get("rest"), list):
        raw = {
            **raw,
            "rest": [rest for rest in raw["rest"] if isinstance(rest, dict) and rest.get("mode") != "client"],
        }
    model, dropped = clean("CapabilityStatement", raw, _CAPABILITY)
    resources = [resource for rest in model.rest or () for resource in rest.resource or ()]
    uris = dict(_oauth_uris(raw))
    return Capability(
        fhir_version=model.fhirVersion,
        interactions={r.type: frozenset(i.code for i in r.interaction or ()) for r in resources},
        search_parameters={r.type: frozenset(p.name for p in r.searchParam or ()) for r in resources},
        json_patch="application/json-patch+json" in (model.patchFormat or ()),
        authorization_endpoint=uris.get("authorize"),
        token_endpoint=uris.get("token"),
    ), dropped


def _oauth_uris(raw: dict[str, Any]) -> Iterable[tuple[str, str]]:
    """SMART's older `oauth-uris` extension (SMART App Launch 1.0, conformance)."""
    for rest in _dicts(raw.get("rest")):
        security = rest.get("security")
        for extension in _dicts(security.get("extension") if isinstance(security, dict) else None):
            if str(extension.get("url", "")).endswith("/oauth-uris"):
                for part in _dicts(extension.get("extension")):
                    if isinstance(part.get("url"), str) and isinstance(part.get("valueUri"), str):
                        yield part["url"], part["valueUri"]


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
