"""What simulated Cerner publishes about itself: CapabilityStatement and SMART configuration.

Source: the live documents of the vendor's public servers. No `software` element: the release cannot be read.
"""

from __future__ import annotations

from sandbox.cerner.authorization import endpoint
from sandbox.cerner.scopes import LAUNCH_SCOPES, RESOURCES, Persona, grantable
from sandbox.cerner.searching import MORE, NEEDED
from sandbox.world import Hospital, Json, World

_OAUTH_URIS = "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris"


def capability_statement(world: World, hospital: Hospital, persona: Persona, base: str) -> Json:
    writable = persona == "provider"
    resources = [{
        "type": kind,
        "interaction": [{"code": code} for code in ("read", "search-type", *(
            ("create", "patch") if kind == "Appointment" and writable else ()))],
        "searchParam": [{"name": name, "type": "token"} for name in (*NEEDED[kind], *MORE[kind], "_count")],
    } for kind in sorted(RESOURCES)]
    uris = [{"url": what, "valueUri": endpoint(world, hospital, f"{what}/{persona}")}
            for what in ("authorize", "token")]
    return {
        "resourceType": "CapabilityStatement", "id": "OracleHealthCapabilityStatement",
        "name": "OracleHealthCapabilityStatement", "status": "active",
        "date": world.now().date().isoformat(), "publisher": "Oracle Health", "kind": "instance",
        "implementation": {"description": "Oracle Health implementation of FHIR R4", "url": base},
        "fhirVersion": "4.0.1", "format": ["json", "application/fhir+json"],
        "patchFormat": ["application/json-patch+json"],
        "rest": [{"mode": "server", "security": {
            "extension": [{"url": _OAUTH_URIS, "extension": uris}], "cors": True,
            "service": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/restful-security-service",
                                     "code": "SMART-on-FHIR", "display": "SMART-on-FHIR"}]}]},
            "resource": resources, "interaction": [{"code": "batch"}]}],
    }


def smart_configuration(world: World, hospital: Hospital, persona: Persona) -> Json:
    authorization = world.ports.url("authorization")
    personas: tuple[Persona, ...] = ("provider", "system") if persona == "provider" else ("patient",)
    offered = [f"{context}/{kind}.{access}" for context in ("patient", "user", "system")
               for kind in sorted(RESOURCES) for access in ("read", "write", "rs", "crus")]
    context = ["context-ehr-encounter"] if persona == "provider" else ["context-standalone-patient"]
    return {
        "issuer": f"{authorization}/tenants/{hospital.ehr_tenant}",
        "authorization_endpoint": endpoint(world, hospital, f"authorize/{persona}"),
        "token_endpoint": endpoint(world, hospital, f"token/{persona}"),
        "jwks_uri": f"{authorization}/jwk",
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "private_key_jwt"],
        "token_endpoint_auth_signing_alg_values_supported": ["RS384", "ES384"],
        "grant_types_supported": ["authorization_code", "client_credentials"],
        "response_types_supported": ["code"], "code_challenge_methods_supported": ["S256"],
        "capabilities": [
            "authorize-post", "launch-ehr", "launch-standalone", "client-public",
            "client-confidential-asymmetric", "client-confidential-symmetric", "sso-openid-connect",
            "context-banner", "context-style", "context-ehr-patient", *context,
            "permission-patient", "permission-user", "permission-offline",
            "permission-online", "permission-v1", "permission-v2"],
        "scopes_supported": [*sorted(LAUNCH_SCOPES), *(
            scope for scope in offered
            if any(grantable(scope, one, version) for one in personas for version in ("v1", "v2")))],
    }
