"""Simulated Cerner authorization server: SMART authorize, token, keys and OpenID discovery.

Source: Cerner authorization framework documentation; SMART App Launch 2.x; RFC 6749 and 7636. The launch says
who signs in, so no page asks; a standalone patient launch signs in the first patient of the hospital.
Errors are URNs inside `error_uri`; there is no `error_description`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
import uuid
from dataclasses import replace
from urllib.parse import quote, unquote, urlencode

import flask
from flask import request
from flask.typing import ResponseReturnValue

from sandbox import stand_in
from sandbox.cerner.clients import CLIENTS, ClientAuthentication
from sandbox.cerner.id_tokens import KeyRing, id_token, issuer
from sandbox.cerner.scopes import Persona, grantable
from sandbox.world import Grant, Hospital, Json, World

ACCESS_S = 570
_CODE_S = 120
_SESSION_S = 34969
HOSTS = {"provider": "fhir-ehr.cerner.example", "patient": "fhir-myrecord.cerner.example"}
"""The `hosts/` segment of each persona's token endpoint."""


class _OAuthError(Exception):
    """`error` of RFC 6749, with the end of Cerner's URN."""

    def __init__(self, error: str, urn: str) -> None:
        super().__init__(error)
        self.error = error
        self.urn = f"urn:cerner:error:authorization-server:{urn}"


class _UntrustedError(_OAuthError):
    """The client or redirect URI is not trusted: the user sees a page, nothing is redirected."""


def endpoint(world: World, hospital: Hospital, what: str) -> str:
    """URL of `authorize/{persona}` or `token/{persona}` of one hospital."""
    operation, persona = what.split("/")
    base = f"{world.ports.url('authorization')}/tenants/{hospital.ehr_tenant}"
    if operation == "token":
        return f"{base}/hosts/{HOSTS[persona]}/protocols/oauth2/profiles/smart-v1/token"
    return f"{base}/protocols/oauth2/profiles/smart-v1/personas/{persona}/authorize"


def create_app(world: World) -> flask.Flask:
    app = stand_in.make(world, "authorization", refusal=lambda status: ("", status))
    app.register_error_handler(_OAuthError, lambda problem: _refusal(world, problem))
    server = _Server(world)
    tenant = "/tenants/<tenant>"
    smart = "protocols/oauth2/profiles/smart-v1"
    for path, name, view, methods in (
        (f"{tenant}/{smart}/personas/<persona>/authorize", "authorize", server.authorize, ["GET", "POST"]),
        (f"{tenant}/hosts/<host>/{smart}/token", "token", server.token, ["POST"]),
        ("/jwk", "jwk", server.jwk, ["GET"]),
        (f"{tenant}/oidc/idsps/<idsp>/.well-known/openid-configuration", "openid-configuration",
         server.openid_configuration, ["GET"]),
        ("/errors/<urn>/instances/<instance>", "error-page", server.error_page, ["GET"]),
    ):
        app.add_url_rule(path, name, view, methods=methods)
    return app


class _Server:
    def __init__(self, world: World) -> None:
        self._world = world
        self._keys = KeyRing()
        self._clients = ClientAuthentication(world.ports.url("app"))

    def authorize(self, tenant: str, persona: Persona) -> ResponseReturnValue:
        """Sends the browser back with a code, or with an error the app may know of."""
        asked, world = request.values, self._world
        hospital = world.hospital_of_ehr_tenant(tenant)
        if hospital is None or persona not in HOSTS:
            raise _UntrustedError("invalid_request", "oauth2:grant:unknown-tenant")
        _check_trusted(world, hospital, persona)
        try:
            answer = {"code": _issue_code(world, hospital, persona)}
        except _OAuthError as problem:
            answer = {"error": problem.error, "error_uri": _error_uri(world, problem, str(uuid.uuid4()))}
        if "state" in asked:
            answer["state"] = asked["state"]
        joint = "&" if "?" in asked["redirect_uri"] else "?"
        return flask.redirect(f"{asked['redirect_uri']}{joint}{urlencode(answer)}", 302)

    def token(self, tenant: str, host: str) -> ResponseReturnValue:
        hospital = self._world.hospital_of_ehr_tenant(tenant)
        if hospital is None or host not in HOSTS.values():
            raise _OAuthError("invalid_request", "oauth2:token:unknown-tenant")
        client_id = self._clients.client_id(hospital)
        if client_id is None:
            raise _OAuthError("invalid_client", "oauth2:token:invalid-authorization-header")
        grant_type = request.form.get("grant_type")
        if grant_type == "authorization_code":
            body = _exchange(self._world, self._keys, hospital, client_id)
        elif grant_type == "refresh_token":
            body = _refresh(self._world, hospital, client_id)
        elif grant_type == "client_credentials":
            body = _system_token(self._world, hospital, client_id)
        else:
            raise _OAuthError("unsupported_grant_type", "oauth2:token:unsupported-grant-type")
        return flask.jsonify(body), {"Cache-Control": "no-store", "Pragma": "no-cache"}

    def jwk(self) -> ResponseReturnValue:
        return flask.jsonify(self._keys.jwks())

    def openid_configuration(self, tenant: str, idsp: str) -> ResponseReturnValue:
        world = self._world
        hospital = world.hospital_of_ehr_tenant(tenant)
        if hospital is None or f"/{idsp}/" not in issuer(world, hospital):
            flask.abort(404)
        return flask.jsonify(
            issuer=issuer(world, hospital), jwks_uri=f"{world.ports.url('authorization')}/jwk",
            authorization_endpoint=endpoint(world, hospital, "authorize/provider"),
            token_endpoint=endpoint(world, hospital, "token/provider"), response_types_supported=["code"],
            subject_types_supported=["public"], id_token_signing_alg_values_supported=["RS256", "ES256"])

    def error_page(self, urn: str, instance: str) -> ResponseReturnValue:
        return f"{unquote(urn)} ({instance})", 200, {"Content-Type": "text/plain"}


def _check_trusted(world: World, hospital: Hospital, persona: Persona) -> None:
    asked = request.values
    if CLIENTS.get(asked.get("client_id", ""), ("",))[0] != persona:
        raise _UntrustedError("invalid_request", "oauth2:grant:unknown-client")
    registration = world.registrations.get(hospital.key)
    if registration is None:
        raise _UntrustedError("invalid_request", "oauth2:grant:unauthorized-client-for-tenant")
    redirect_uri = asked.get("redirect_uri", "")
    if redirect_uri != registration.redirect_uri:
        slash = redirect_uri.rstrip("/") == registration.redirect_uri.rstrip("/")
        raise _UntrustedError("invalid_request",
                              f"oauth2:grant:invalid-redirect-uri{'-trailing-slash' if slash else ''}")


def _issue_code(world: World, hospital: Hospital, persona: Persona) -> str:
    asked = request.values
    scopes = tuple(dict.fromkeys(asked.get("scope", "").split()))
    pkce = asked.get("code_challenge")
    if asked.get("response_type") != "code" or not scopes or any("*" in scope for scope in scopes) or (
            pkce and asked.get("code_challenge_method") != "S256"):
        raise _OAuthError("invalid_request", "oauth2:grant:invalid-request")
    tenant = hospital.ehr_tenant
    base = world.ports.fhir_base(tenant) if persona == "provider" else world.ports.patient_fhir_base(tenant)
    if "aud" not in asked:
        raise _OAuthError("invalid_request", "smart-v1:grant:launch:audience-required")
    if asked["aud"] != base:
        raise _OAuthError("invalid_request", "smart-v1:grant:launch:unknown-resource-server")
    launch = _launch(world, hospital, persona, scopes)
    if "denied_consent" in world.mischief:
        raise _OAuthError("access_denied", "oauth2:grant:denied-by-user")
    _refuse_with(world, "authorize ", "invalid_request")
    code = secrets.token_urlsafe(24)
    with world.lock:
        world.grants[code] = replace(
            launch, kind="code", expires=time.time() + _CODE_S, client_id=asked["client_id"],
            scopes=_granted(world, hospital, persona, scopes), redirect_uri=asked["redirect_uri"],
            challenge=pkce or "", nonce=asked.get("nonce", ""))
    return code


def _launch(world: World, hospital: Hospital, persona: Persona, scopes: tuple[str, ...]) -> Grant:
    code = request.values.get("launch")
    if "launch" not in scopes and not code and persona == "patient":
        first = hospital.patients[0]
        return Grant("launch", hospital.key, persona, 0, user=first.key, patient_id=first.patient_id)
    if not code:
        raise _OAuthError("invalid_request", "smart-v1:grant:launch:code-required")
    launch = _take(world, code, "launch")
    if launch is None or (launch.hospital, launch.persona) != (hospital.key, persona):
        raise _OAuthError("invalid_request", "smart-v1:grant:launch:invalid-launch-code")
    return launch


def _granted(world: World, hospital: Hospital, persona: Persona, scopes: tuple[str, ...]) -> tuple[str, ...]:
    trimmed = world.trimmed_scopes.get(hospital.key, set())
    return tuple(scope for scope in scopes
                 if grantable(scope, persona, hospital.scopes_version) and scope not in trimmed)


def _take(world: World, value: str, kind: str) -> Grant | None:
    """Use up a one-time value; None if it is unknown, used, old, or of another kind."""
    with world.lock:
        grant = world.grants.get(value)
        if grant is None or grant.kind != kind:
            return None
        del world.grants[value]
    return grant if grant.expires > time.time() else None


def _refuse_with(world: World, prefix: str, error: str) -> None:
    """Refuse with the URN that stands in the world's mischief behind the prefix, if one does."""
    for name in list(world.mischief):
        if name.startswith(prefix):
            raise _OAuthError(error, name.removeprefix(prefix))


def _exchange(world: World, keys: KeyRing, hospital: Hospital, client_id: str) -> Json:
    form = request.form
    _refuse_with(world, "token ", "invalid_grant")
    grant = _take(world, form.get("code", ""), "code")
    if grant is None or grant.hospital != hospital.key or grant.redirect_uri != form.get("redirect_uri"):
        raise _OAuthError("invalid_grant", "oauth2:token:code:invalid")
    if grant.client_id != client_id:
        raise _OAuthError("invalid_grant", "oauth2:token:code:client:mismatch")
    verifier = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
    if grant.challenge and grant.challenge != base64.urlsafe_b64encode(verifier).rstrip(b"=").decode():
        raise _OAuthError("invalid_grant", "oauth2:token:code:invalid")
    body = _access(world, grant)
    if signed := id_token(world, keys, hospital, grant):
        body["id_token"] = signed
    if not {"online_access", "offline_access"}.isdisjoint(grant.scopes):
        content = json.dumps({"id": str(uuid.uuid4()), "secret": str(uuid.uuid4()), "ver": "1.0"})
        refresh = base64.b64encode(content.encode()).decode()
        with world.lock:
            world.grants[refresh] = replace(grant, kind="refresh", expires=time.time() + _SESSION_S)
        body |= {"refresh_token": refresh, "active_ttl": _SESSION_S}
    body |= {"tenant": hospital.ehr_tenant, "need_patient_banner": True,
             "smart_style_url": "https://smart.cerner.com/styles/smart-v1.json"}
    context = {"patient": grant.patient_id, "encounter": grant.encounter_id}
    if "token_without_patient" in world.mischief:
        del context["patient"]
    if grant.persona == "provider":
        clinician = next(c for c in hospital.clinicians if c.key == grant.user)
        context |= {"user": clinician.practitioner_id, "username": clinician.username}
    return body | {name: value for name, value in context.items() if value}


def _refresh(world: World, hospital: Hospital, client_id: str) -> Json:
    """A new access token; the refresh token stays as it is and is not repeated, unless `rotate_refresh`."""
    held = request.form.get("refresh_token", "")
    grant = world.grants.get(held)
    known = grant is not None and grant.kind == "refresh"
    if grant is None or not known or (grant.hospital, grant.client_id) != (hospital.key, client_id):
        raise _OAuthError("invalid_grant", "oauth2:token:refresh-token:token-invalid")
    if grant.expires < time.time():
        raise _OAuthError("invalid_grant", "oauth2:token:refresh-token:session-invalid")
    if "rotate_refresh" not in world.mischief:
        return _access(world, grant)
    if _take(world, held, "refresh") is None:
        raise _OAuthError("invalid_grant", "oauth2:token:refresh-token:token-invalid")
    fresh = secrets.token_urlsafe(48)
    with world.lock:
        world.grants[fresh] = grant
    return _access(world, grant) | {"refresh_token": fresh}


def _system_token(world: World, hospital: Hospital, client_id: str) -> Json:
    if CLIENTS[client_id][0] != "system":
        raise _OAuthError("unauthorized_client", "oauth2:token:unauthorized-client")
    scopes = _granted(world, hospital, "system", tuple(request.form.get("scope", "").split()))
    if not scopes:
        raise _OAuthError("invalid_scope", "oauth2:token:empty-scopes")
    return _access(world, Grant("access", hospital.key, "system", 0, client_id=client_id, scopes=scopes))


def _access(world: World, grant: Grant) -> Json:
    access = secrets.token_urlsafe(48)
    with world.lock:
        now = time.time()
        for old in [value for value, kept in world.grants.items() if kept.expires < now]:
            del world.grants[old]
        world.grants[access] = replace(grant, kind="access", expires=now + ACCESS_S)
    return {"access_token": access, "token_type": "Bearer", "expires_in": ACCESS_S,
            "scope": " ".join(grant.scopes)}


def _error_uri(world: World, problem: _OAuthError, instance: str) -> str:
    tenant = (request.view_args or {}).get("tenant", "")
    about = {"client": request.values.get("client_id", "unknown"), "tenant": tenant}
    if request.endpoint == "authorize":
        about = {"persona": (request.view_args or {})["persona"], **about}
    return (f"{world.ports.url('authorization')}/errors/{quote(problem.urn, safe='')}/instances/{instance}"
            f"?{urlencode(about)}")


def _refusal(world: World, problem: _OAuthError) -> ResponseReturnValue:
    instance = str(uuid.uuid4())
    headers = {"Cerner-Correlation-ID": instance, "Cache-Control": "no-store"}
    uri = _error_uri(world, problem, instance)
    if isinstance(problem, _UntrustedError):
        return f"This app cannot be opened: {problem.urn}", 400, headers | {"Content-Type": "text/plain"}
    return flask.jsonify(error=problem.error, error_uri=uri), 400, headers
