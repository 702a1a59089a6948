"""SMART App Launch in its own words: discovery document, authorization URL, scopes, error URNs.

Everything here judges or builds text; nothing talks to a server.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import unquote, urlencode, urlsplit

from connector.errors import PermanentError

Persona = Literal["provider", "patient", "system"]
ScopesVersion = Literal["v1", "v2"]

_URN = re.compile(r"urn:cerner:error:[A-Za-z0-9:._-]{1,160}")
_INSTANCE = re.compile(r"/instances/([0-9A-Za-z-]{8,64})(?:[/?#]|$)")
_RESOURCE_SCOPE = re.compile(r"(patient|user|system)/([A-Za-z]+|\*)\.(read|write|\*|c?r?u?d?s?)(\?.*)?")


@dataclass(frozen=True)
class SmartConfiguration:
    """An authorization server as a FHIR base names it (SMART App Launch 2.x, conformance)."""

    issuer: str | None
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str | None
    token_endpoint_auth_methods_supported: tuple[str, ...]
    """Empty when not stated."""
    pkce: bool
    """S256 is advertised. A fifth of Cerner's tenants do not advertise it and accept it all the same."""


def smart_configuration(document: Any) -> SmartConfiguration:
    """What we use of a `.well-known/smart-configuration`; PermanentError when it names no endpoints."""
    if not isinstance(document, dict):
        raise PermanentError("cerner.discovery_unreadable")
    texts = {name: value for name, value in document.items() if isinstance(value, str) and value}
    if "authorization_endpoint" not in texts or "token_endpoint" not in texts:
        raise PermanentError("cerner.discovery_unreadable")
    return SmartConfiguration(
        issuer=texts.get("issuer"),
        authorization_endpoint=texts["authorization_endpoint"],
        token_endpoint=texts["token_endpoint"],
        jwks_uri=texts.get("jwks_uri"),
        token_endpoint_auth_methods_supported=_texts(document.get("token_endpoint_auth_methods_supported")),
        pkce="S256" in _texts(document.get("code_challenge_methods_supported")),
    )


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()


def authorization_url(
    configuration: SmartConfiguration,
    *,
    client_id: str,
    redirect_uri: str,
    scope: str,
    state: str,
    aud: str,
    code_challenge: str,
    launch: str | None = None,
    nonce: str | None = None,
) -> str:
    """Where to send the browser (RFC 6749 4.1.1, RFC 7636, SMART App Launch); `aud` is `iss` as received."""
    parameters = {
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": redirect_uri,
        "scope": scope,
        "state": state,
        "aud": aud,
        "launch": launch,
        "nonce": nonce,
        "code_challenge": code_challenge,
        "code_challenge_method": "S256",
    }
    query = urlencode({name: value for name, value in parameters.items() if value is not None})
    endpoint = configuration.authorization_endpoint
    return f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}{query}"


def scopes(persona: Persona, version: ScopesVersion, write: bool = False, *, standalone: bool = False) -> str:
    """What to ask for. An app is registered for one syntax and granted only that one.

    `write` adds writing Appointments, which the patient persona cannot have. `standalone` is the patient's
    launch without a portal.
    """
    read, crus = (".read", (".read", ".write")) if version == "v1" else (".rs", (".crus",))
    context, resources, first = {
        "provider": (
            "user",
            ("Patient", "Encounter", "Practitioner"),
            ("launch", "online_access", "openid", "fhirUser"),
        ),
        "patient": ("patient", ("Patient",), ("launch", "openid", "fhirUser", "online_access")),
        "system": ("system", ("Patient", "Location"), ()),
    }[persona]
    if persona == "patient" and standalone:
        first = ("launch/patient", *first[1:])
    appointment = crus if write and persona != "patient" else (read,)
    wanted = [*first, *(f"{context}/Appointment{suffix}" for suffix in appointment)]
    return " ".join([*wanted, *(f"{context}/{resource}{read}" for resource in resources)])


def missing_scopes(granted: Iterable[str], wanted: str) -> tuple[str, ...]:
    """Wanted scopes that were not granted; Cerner drops them without a word.

    v1 and v2 spellings match each other (`.read` is `.rs`, `.write` is `.cu` here: nobody is granted delete).
    `launch` is not counted: it grants the launch context beside the token, and not every server echoes it.
    """
    held = {_alias(scope) for scope in granted}
    rights = [right for right in map(_right, held) if right]
    missing = []
    for scope in wanted.split():
        right = _right(scope)
        if right is None:
            ok = scope in ("launch", "launch/patient") or _alias(scope) in held
        else:
            context, resource, permissions = right
            ok = permissions <= {
                p for c, r, allowed in rights if c == context and r in (resource, "*") for p in allowed
            }
        if not ok:
            missing.append(scope)
    return tuple(missing)


def _alias(scope: str) -> str:
    return "fhirUser" if scope == "profile" else scope


def _right(scope: str) -> tuple[str, str, frozenset[str]] | None:
    match = _RESOURCE_SCOPE.fullmatch(scope)
    if match is None or not match[3] or match[4]:  # a scope narrowed by a query is not the whole right
        return None
    permissions = {"read": "rs", "write": "cu", "*": "cruds"}.get(match[3], match[3])
    return match[1], match[2], frozenset(permissions)


def error_urn(error_uri: str | None) -> str | None:
    """The documented URN in an `error_uri` of Cerner's authorization server, encoded once or twice."""
    text = error_uri or ""
    for _ in range(2):
        text = unquote(text)
    match = _URN.search(text)
    return match[0] if match else None


def error_instance(error_uri: str | None) -> str | None:
    """The correlation id in an `error_uri`, for a support case."""
    match = _INSTANCE.search(unquote(error_uri or ""))
    return match[1] if match else None


def error_link(error_uri: str | None, configuration: SmartConfiguration) -> str | None:
    """An `error_uri` that a page may link to, for the vendor explains it there: on the server's own origin only."""
    own = urlsplit(configuration.authorization_endpoint)
    text = error_uri or ""
    try:
        given = urlsplit(text)
    except ValueError:
        return None
    plain = len(text) <= 1000 and text.isascii() and text.isprintable()
    return text if plain and (given.scheme, given.netloc) == (own.scheme, own.netloc) else None
