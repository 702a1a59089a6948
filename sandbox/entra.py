"""Simulated Microsoft Entra ID: sign-in with an account picker, tokens, keys and admin consent, over https.

Source: Microsoft identity platform, "OAuth 2.0 authorization code flow", "client credentials flow",
"ID token claims reference", "Admin consent protocols". Token lifetimes use real time.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import time
from dataclasses import dataclass
from urllib.parse import urlencode

import flask
import jwt
from flask import redirect, render_template, request
from flask.typing import ResponseReturnValue

from sandbox import entra_tokens as tokens
from sandbox import stand_in
from sandbox.cast import GLOBAL_ADMINISTRATOR
from sandbox.entra_tokens import ENTRA_CLIENT_ID as ENTRA_CLIENT_ID
from sandbox.entra_tokens import EntraError
from sandbox.stand_in import world
from sandbox.world import EntraUser, Hospital, Json, World

ENTRA_CLIENT_SECRET = "sandbox-entra-secret-7Qk2"  # noqa: S105 - opens nothing but this simulation
AUTOMATION_CLIENT_ID = "5a0de7c2-61b4-4f3a-9c08-d2e9b7146f35"
AUTOMATION_CLIENT_SECRET = "sandbox-automation-secret-4Zt9"  # noqa: S105 - the same
READER_CLIENT_ID = "c94b1f60-2d7e-48a5-b3f1-80ae5cd67219"
READER_CLIENT_SECRET = "sandbox-reader-secret-8Wm3"  # noqa: S105 - the same
CLIENTS = {
    ENTRA_CLIENT_ID: ENTRA_CLIENT_SECRET,
    AUTOMATION_CLIENT_ID: AUTOMATION_CLIENT_SECRET,
    READER_CLIENT_ID: READER_CLIENT_SECRET,
}
CONNECTOR_ROLES = {AUTOMATION_CLIENT_ID: ["Connector.Configure"], READER_CLIENT_ID: ["Connector.Read"]}
ANY_TENANT = ("organizations", "common")
CODE_LIFETIME_S = 600
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
DECLINED = "none"
USER_DECLINED = {"error": "access_denied", "error_description": "AADSTS65004: User declined to consent."}
routes = flask.Blueprint("entra", __name__)
VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")


@dataclass(frozen=True)
class Grant:
    """What an authorization code stands for until it is redeemed."""

    hospital: Hospital
    user: EntraUser
    redirect_uri: str
    challenge: str
    nonce: str
    scope: str
    expires: float
    auth_time: int | None
    """Real time of the sign-in, when it was asked for by max_age."""


class Refused(Exception):
    """A request that Entra answers with an OAuth error document."""

    def __init__(self, status: int, error: EntraError) -> None:
        super().__init__(error.description)
        self.status, self.error = status, error


def create_app(world: World) -> flask.Flask:
    """The Entra stand-in; serve it with the certificate of `sandbox.certificates`."""
    busy = EntraError("temporarily_unavailable", 90033, "A transient error has occurred. Please try again.")
    app = stand_in.make(
        world, "entra", routes, lambda status: (busy.body(), status if status == 429 else 503)
    )
    app.config["GRANTS"] = {}
    return app


@routes.errorhandler(Refused)
def refused(problem: Refused) -> ResponseReturnValue:
    return problem.error.body(), problem.status


@routes.get("/<tenant>/v2.0/.well-known/openid-configuration")
def openid_configuration(tenant: str) -> ResponseReturnValue:
    _known(tenant)
    authority = world.ports.url("entra")
    base, issuer_tenant = f"{authority}/{tenant}", "{tenantid}" if tenant in ANY_TENANT else tenant
    return {
        "issuer": f"{authority}/{issuer_tenant}/v2.0",
        "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
        "token_endpoint": f"{base}/oauth2/v2.0/token",
        "jwks_uri": f"{base}/discovery/v2.0/keys",
        "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"],
        "response_modes_supported": ["query", "form_post"],
        "response_types_supported": ["code"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "scopes_supported": ["openid", "profile", "email", "offline_access"],
    }


@routes.get("/<tenant>/discovery/v2.0/keys")
def keys(tenant: str) -> ResponseReturnValue:
    _known(tenant)
    return {"keys": [tokens.public_jwk()]}


@routes.get("/<tenant>/oauth2/v2.0/authorize")
def authorize(tenant: str) -> ResponseReturnValue:
    asked = request.args
    home = _tenant(tenant)
    _check_client_and_redirect()
    problem = _authorization_problem()
    if problem:
        return _answer(problem)
    chosen = _chosen(home)
    if chosen is None:
        if asked.get("prompt") == "none":
            return _answer(
                {"error": "login_required", "error_description": "AADSTS50058: No one is signed in."}
            )
        return _picker(home, "Sign in")
    code = secrets.token_urlsafe(48)
    grant = Grant(
        *chosen,
        redirect_uri=asked["redirect_uri"],
        challenge=asked.get("code_challenge", ""),
        nonce=asked.get("nonce", ""),
        scope=asked["scope"],
        expires=time.time() + CODE_LIFETIME_S,
        auth_time=_auth_time(),
    )
    flask.current_app.config["GRANTS"][code] = grant
    return _answer({"code": code, "session_state": secrets.token_hex(16)})


@routes.post("/<tenant>/oauth2/v2.0/token")
def token(tenant: str) -> ResponseReturnValue:
    home, form = _tenant(tenant), request.form
    client_id = _authenticated_client()
    if form.get("grant_type") == "client_credentials":
        if home is None:
            raise Refused(400, EntraError("invalid_request", 90002, "Name the tenant to get an app token."))
        answer = _app_token(home, client_id, form.get("scope", ""))
    elif form.get("grant_type") == "authorization_code":
        grant = flask.current_app.config["GRANTS"].pop(form.get("code", ""), None)
        answer = _redeemed(home, client_id, grant)
    else:
        raise Refused(400, EntraError("unsupported_grant_type", 70003, "The grant type is not supported."))
    return flask.jsonify(answer), 200, {"Cache-Control": "no-store"}


@routes.get("/<tenant>/v2.0/adminconsent")
def adminconsent(tenant: str) -> ResponseReturnValue:
    home = _tenant(tenant)
    _check_client_and_redirect()
    chosen = _chosen(home)
    if request.args.get("sandbox_user") == DECLINED:
        return _answer(USER_DECLINED)
    if chosen is None:
        return _picker(home, "Consent for your organization")
    hospital, user = chosen
    if GLOBAL_ADMINISTRATOR not in user.wids:
        return _answer(
            {"error": "access_denied", "error_description": "AADSTS90094: Admin consent is required."}
        )
    with world.lock:
        world.consented.add(hospital.tid)
    return _answer({"admin_consent": "True", "tenant": hospital.tid, "scope": request.args.get("scope", "")})


def _tenant(tenant: str) -> Hospital | None:
    """The hospital whose tenant id stands in the path; None for `organizations` and `common`."""
    if tenant in ANY_TENANT:
        return None
    hospital = world.hospital_of_tid(tenant)
    if hospital is None:
        raise Refused(400, EntraError("invalid_tenant", 90002, f"Tenant '{tenant}' not found."))
    return hospital


def _known(tenant: str) -> None:
    """The operator's own tenant has keys too, though nobody signs in there."""
    if tenant != tokens.HOME_TENANT:
        _tenant(tenant)


def _check_client_and_redirect() -> None:
    """Entra shows an error page of its own, never a redirect, for an unknown client or redirect URI."""
    if request.args.get("client_id") != ENTRA_CLIENT_ID:
        raise Refused(400, EntraError("unauthorized_client", 700016, "The application was not found."))
    app = world.ports.url("app")
    if request.args.get("redirect_uri") not in (f"{app}/signin/callback", f"{app}/portal/callback"):
        raise Refused(
            400, EntraError("invalid_request", 50011, "The redirect URI does not match any registered.")
        )


def _authorization_problem() -> dict[str, str] | None:
    """What is wrong with an authorization request, as the error response sent to the redirect URI."""
    asked = request.args
    if asked.get("response_type") != "code":
        return {
            "error": "unsupported_response_type",
            "error_description": "AADSTS700054: Only code is enabled.",
        }
    if asked.get("response_mode", "query") not in ("query", "form_post"):
        return {
            "error": "invalid_request",
            "error_description": "AADSTS901002: response_mode is not supported.",
        }
    if "openid" not in asked.get("scope", "").split():
        return {
            "error": "invalid_request",
            "error_description": "AADSTS900144: The scope must contain openid.",
        }
    if asked.get("code_challenge") and asked.get("code_challenge_method") != "S256":
        return {"error": "invalid_request", "error_description": "AADSTS501491: Only S256 is supported."}
    return USER_DECLINED if asked.get("sandbox_user") == DECLINED else None


def _chosen(home: Hospital | None) -> tuple[Hospital, EntraUser] | None:
    """The account of `sandbox_user` (the page sends it), else of `login_hint` unless the picker is wanted."""
    by_oid, hint = request.args.get("sandbox_user"), request.args.get("login_hint", "").lower()
    if request.args.get("prompt") in ("select_account", "login") and by_oid is None:
        return None
    for hospital in (home,) if home else world.hospitals.values():
        for user in hospital.directory:
            if user.oid == by_oid or (by_oid is None and hint and user.upn.lower() == hint):
                return hospital, user
    return None


def _auth_time() -> int | None:
    """With max_age Entra says when the person signed in. `stale_auth_time`: somebody stripped prompt=login on the
    way, and a sign-in of an hour ago sufficed; `no_auth_time`: an authority that never says it."""
    if "max_age" not in request.args or "no_auth_time" in world.mischief:
        return None
    return int(time.time()) - (3600 if "stale_auth_time" in world.mischief else 0)


def _picker(home: Hospital | None, title: str) -> ResponseReturnValue:
    hospitals = (home,) if home else tuple(world.hospitals.values())
    kept = [(k, v) for k, v in request.args.items(multi=True) if k != "sandbox_user"]
    return render_template("entra_picker.html", title=title, hospitals=hospitals, kept=kept)


def _answer(parameters: dict[str, str]) -> ResponseReturnValue:
    """Send the result to the (already checked) redirect URI in the asked response mode."""
    asked = request.args
    if "state" in asked:
        parameters = parameters | {"state": asked["state"]}
    if asked.get("response_mode") == "form_post":
        return render_template("entra_form_post.html", action=asked["redirect_uri"], parameters=parameters)
    return redirect(f"{asked['redirect_uri']}?{urlencode(parameters)}")


def _authenticated_client() -> str:
    """The client proven by secret or by the federated credential of the stamp's managed identity."""
    form = request.form
    client_id = form.get("client_id", "")
    if client_id not in CLIENTS:
        raise Refused(
            400, EntraError("unauthorized_client", 700016, f"Application '{client_id}' was not found.")
        )
    if form.get("client_assertion_type") == ASSERTION_TYPE:
        try:
            tokens.check_federated_assertion(world, client_id, form.get("client_assertion", ""))
        except jwt.InvalidTokenError:
            problem = EntraError("invalid_client", 700213, "No matching federated identity record found.")
            raise Refused(401, problem) from None
    elif not secrets.compare_digest(form.get("client_secret", "").encode(), CLIENTS[client_id].encode()):
        raise Refused(401, EntraError("invalid_client", 7000215, "Invalid client secret provided."))
    return client_id


def _app_token(home: Hospital, client_id: str, scope: str) -> Json:
    """Client credentials: the permissions an administrator consented to become the token's roles."""
    if client_id == ENTRA_CLIENT_ID and home.tid not in world.consented:
        problem = f"The client application is missing service principal in the tenant {home.tid}."
        raise Refused(400, EntraError("unauthorized_client", 7000229, problem))
    resource, dot, rest = scope.rpartition("/.default")
    if not dot or rest:
        raise Refused(400, EntraError("invalid_scope", 1002012, "The scope must end with /.default."))
    if resource in (tokens.GRAPH, world.ports.url("graph")):
        granted = [role for role in tokens.GRAPH_ROLES if role not in world.withheld_roles]
        audience, roles = tokens.GRAPH, granted if client_id == ENTRA_CLIENT_ID else []
    elif resource.removeprefix("api://") == ENTRA_CLIENT_ID:
        audience, roles = ENTRA_CLIENT_ID, CONNECTOR_ROLES.get(client_id, [])
    else:
        raise Refused(
            400, EntraError("invalid_resource", 500011, f"The resource principal {resource} was not found.")
        )
    return _token_answer(tokens.app_token(world, home.tid, client_id, audience, roles))


def _redeemed(home: Hospital | None, client_id: str, grant: Grant | None) -> Json:
    """Redeem a code once: same client, same redirect URI, PKCE verifier, within ten minutes."""
    form = request.form
    if grant is None or client_id != ENTRA_CLIENT_ID or (home and home != grant.hospital):
        raise Refused(400, EntraError("invalid_grant", 54005, "The code is unknown or was already redeemed."))
    if grant.expires < time.time():
        raise Refused(400, EntraError("invalid_grant", 70008, "The code has expired."))
    if form.get("redirect_uri") != grant.redirect_uri:
        raise Refused(
            400, EntraError("invalid_client", 500112, "The reply address does not match the code's.")
        )
    verifier = form.get("code_verifier", "")
    digest = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    if grant.challenge and not (
        VERIFIER.fullmatch(verifier) and secrets.compare_digest(digest, grant.challenge)
    ):
        raise Refused(
            400, EntraError("invalid_grant", 501481, "The code_verifier does not match the code_challenge.")
        )
    answer = _token_answer(tokens.user_access_token(world, grant.hospital.tid, grant.user))
    info = {"uid": grant.user.oid, "utid": grant.hospital.tid}
    return answer | {
        "scope": grant.scope,
        "id_token": tokens.id_token(world, grant.hospital.tid, grant.user, grant.nonce, grant.auth_time),
        "client_info": base64.urlsafe_b64encode(flask.json.dumps(info).encode()).rstrip(b"=").decode(),
    }


def _token_answer(access_token: str) -> Json:
    lifetime = tokens.LIFETIME_S
    return {
        "token_type": "Bearer",
        "expires_in": lifetime,
        "ext_expires_in": lifetime,
        "access_token": access_token,
    }
