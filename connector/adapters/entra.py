"""Microsoft Entra ID: sign-in of people, our own tokens for Graph, and tokens that others present to our API.

MSAL speaks the protocol; we prove every token that decides about access (connector.adapters.entra_proof).
Source: Microsoft identity platform, "OAuth 2.0 authorization code flow", "client credentials flow", "ID token
claims reference"; MSAL Python; "Configure an application to trust a managed identity".
"""

from __future__ import annotations

import hashlib
import hmac
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlencode

import jwt
import requests

from connector.adapters.entra_proof import GUID, NotProven, TokenProof, claimed, names
from connector.adapters.http import Response
from connector.adapters.microsoft import MicrosoftHttp
from connector.errors import ConnectorError, PermanentError, RefusedError, TransientError
from connector.settings import Settings

GLOBAL_ADMINISTRATOR = "62e90394-69f5-4237-9190-012177145e10"
"""Role template id in `wids`; the app's manifest must set groupMembershipClaims to DirectoryRole."""
GRAPH_SCOPE = "https://graph.microsoft.com/.default"

_CHANGE_TRACKING = "0bf30f3b-4a52-48df-9a82-234910c4a086"
"""Microsoft Graph Change Tracking: the application that sends change notifications."""
_ANY_ORGANIZATION = "organizations"
_FEDERATION_AUDIENCE = "api://AzureADTokenExchange"
_AADSTS = re.compile(r"AADSTS\d{4,8}")
_NOT_WITHOUT_PROMPT = ("login_required", "interaction_required", "consent_required")
"""What Entra answers to prompt=none when it would have to ask (OpenID Connect Core 3.1.2.6)."""
_OUR_FAULT = ("invalid_client", "unauthorized_client")


@dataclass(frozen=True)
class SignedInUser:
    """Somebody whose ID token was proven. Only tenant and object id identify; the names are for show."""

    tenant_id: str
    object_id: str
    name: str
    username: str
    roles: frozenset[str]
    directory_roles: frozenset[str]
    """Template ids of Entra roles (`wids`); empty when the app's manifest does not ask for them."""
    authenticated_at: int | None = None
    """When they last proved who they are (`auth_time`, seconds since the epoch); None when Entra does not say."""


@dataclass(frozen=True)
class ApiCaller:
    """Who presented a proven access token to our API."""

    tenant_id: str
    object_id: str
    roles: frozenset[str]


class Entra:
    """Safe to share between threads; MSAL is imported at first use."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._authority = settings.entra_authority
        self._client_id = settings.entra_client_id
        self._http = MicrosoftHttp("entra")
        self._proof = TokenProof(self._authority, self._http)
        self._applications: dict[str, Any] = {}
        self._identity: Any = None
        self._identity_lock = threading.Lock()

    def begin_sign_in(
        self,
        redirect_uri: str,
        *,
        prompt: Literal["select_account", "login", "none"] | None = None,
        login_hint: str | None = None,
        max_age_s: int | None = None,
    ) -> tuple[str, dict[str, Any]]:
        """Where to send the browser, and the flow (state, nonce, verifier) to keep secret meanwhile.

        `max_age_s` asks Entra for `auth_time` too (OpenID Connect Core 3.1.2.1); whether it is recent is the
        caller's to judge, for a browser can strip the parameter.
        """
        application = self._application(_ANY_ORGANIZATION)
        flow: dict[str, Any] = application.initiate_auth_code_flow(
            scopes=[],
            redirect_uri=redirect_uri,
            prompt=prompt,
            login_hint=login_hint,
            max_age=max_age_s,
            response_mode="form_post",
        )
        flow.pop("max_age", None)  # MSAL would refuse without saying why
        # Query, because form_post needs a cookie that other sites may send; state and PKCE protect the code.
        # Asked for only now, since MSAL warns at each call that asks for it.
        url = str(flow.pop("auth_uri")).replace("response_mode=form_post", "response_mode=query")
        return url, {name: value for name, value in flow.items() if value is not None}

    def finish_sign_in(self, flow: Mapping[str, Any], parameters: Mapping[str, str]) -> SignedInUser:
        """The user whom Entra sent back with `parameters`, proven.

        RefusedError: `entra.state_mismatch`, `entra.interaction_required`, `entra.denied`, `entra.sign_in_failed`,
        `entra.code_expired`, `entra.id_token_invalid`. PermanentError `entra.client_refused` when our own credential is
        refused.
        """
        _check_answer(flow, parameters)
        result = self._ask(
            _ANY_ORGANIZATION,
            lambda application: application.acquire_token_by_auth_code_flow(dict(flow), dict(parameters)),
        )
        if "error" in result:
            raise _redemption_refusal(result)
        try:
            claims = self._proof.claims(str(result.get("id_token", "")), audiences=(self._client_id,))
            nonce = hashlib.sha256(str(flow["nonce"]).encode()).hexdigest()  # what MSAL sent
            if not hmac.compare_digest(nonce.encode(), str(claims.get("nonce")).encode()):
                raise NotProven
        except (NotProven, KeyError):
            raise _invalid_id_token() from None
        return SignedInUser(
            tenant_id=claims["tid"],
            object_id=claims["oid"],
            name=str(claims.get("name") or ""),
            username=str(claims.get("preferred_username") or ""),
            roles=names(claims, "roles"),
            directory_roles=names(claims, "wids"),
            authenticated_at=claims["auth_time"] if isinstance(claims.get("auth_time"), int) else None,
        )

    def admin_consent_url(self, tenant_id: str, redirect_uri: str, state: str) -> str:
        """Where an administrator of the tenant consents to every permission that the app registration lists."""
        asked = {"client_id": self._client_id, "scope": GRAPH_SCOPE, "redirect_uri": redirect_uri, "state": state}
        return f"{self._authority}/{tenant_id}/v2.0/adminconsent?{urlencode(asked)}"

    def app_token(self, tenant_id: str, scope: str = GRAPH_SCOPE) -> str:
        """Our own access token in a customer's tenant; MSAL keeps it until it expires.

        PermanentError `entra.app_token_refused` (mostly: no administrator has consented), TransientError.
        """
        if not GUID.fullmatch(tenant_id):
            raise PermanentError("entra.unknown_tenant")
        result = self._ask(tenant_id, lambda application: application.acquire_token_for_client([scope]))
        token = result.get("access_token")
        if isinstance(token, str) and token:
            return token
        # MSAL would repeat a refusal from memory for a minute, and consent may be given in that minute.
        self._applications.pop(tenant_id, None)
        raise PermanentError("entra.app_token_refused", vendor_code=_aadsts(result))

    def app_roles(self, tenant_id: str) -> frozenset[str]:
        """The Graph permissions really granted to us in a tenant, by a fresh token.

        Read without verifying the signature: it is our own token, straight from Entra over TLS, and it is
        Graph that enforces it.
        """
        self._applications.pop(tenant_id, None)
        try:
            claims = jwt.decode(self.app_token(tenant_id, GRAPH_SCOPE), options={"verify_signature": False})
        except jwt.PyJWTError:
            raise PermanentError("entra.unreadable_answer") from None
        return names(claims, "roles")

    def verify_api_token(self, token: str) -> ApiCaller:
        """The caller whom an access token for our API proves; RefusedError 401 `api.token_invalid` otherwise.

        Only tenants on the operator's list are looked at, so that a stranger's token causes no request. An ID
        token has our audience too: only access tokens name the client (`azp`), and none has a nonce.
        """
        try:
            tenant_id, _ = claimed(token)
            if self._settings.listed_bases(tenant_id) is None:
                raise NotProven
            claims = self._proof.claims(token, audiences=(self._client_id, f"api://{self._client_id}"))
            if not isinstance(claims.get("azp"), str) or "nonce" in claims:
                raise NotProven
        except NotProven:
            pass
        else:
            return ApiCaller(claims["tid"], claims["oid"], names(claims, "roles"))
        raise RefusedError(
            "api.token_invalid",
            "The access token is missing, expired, or not for this API and a tenant that it serves.",
            status=401,
            title="Not signed in",
        )

    def notification_tenants(self, tokens: Iterable[str]) -> frozenset[str]:
        """The tenants for which Microsoft Graph really sent a delivery, by its validation tokens.

        Only tenants on the operator's list are looked at, so that a stranger's token causes no request. Source:
        Microsoft Graph, "Validate the authenticity of notifications". TransientError when the keys cannot be read.
        """
        proven = set()
        for token in tokens:
            try:
                tenant_id, _ = claimed(token)
                if tenant_id in proven or self._settings.listed_bases(tenant_id) is None:
                    continue
                claims = self._proof.claims(token, audiences=(self._client_id,), v1=True)
            except NotProven:
                continue
            if _CHANGE_TRACKING in (claims.get("azp"), claims.get("appid")):
                proven.add(tenant_id)
        return frozenset(proven)

    def _ask(self, tenant: str, question: Callable[[Any], Any]) -> dict[str, Any]:
        """MSAL's answer about a tenant; its exceptions, whose texts hold tokens and URLs, stay behind."""
        failure: ConnectorError
        try:
            answer = question(self._application(tenant))
        except _Unanswered as error:
            failure = error.reason
        except RuntimeError:  # MSAL: nonce mismatch
            failure = _invalid_id_token()
        except ValueError:  # MSAL: an ID token that is no JWT
            failure = PermanentError("entra.unreadable_answer")
        else:
            if isinstance(answer, dict):
                return answer
            failure = PermanentError("entra.unreadable_answer")
        raise failure

    def _application(self, tenant: str) -> Any:
        application = self._applications.get(tenant)
        if application is None:
            # Two threads may both build one; the first to finish is kept.
            application = self._applications.setdefault(tenant, self._new_application(tenant))
        return application

    def _new_application(self, tenant: str) -> Any:
        import msal  # here, for a patient's join link need not wait for it

        class Forgetful(msal.TokenCache):  # type: ignore[misc]  # msal has no types
            """Keeps nothing: we want to know who somebody is, and never act in their name."""

            def add(self, event: dict[str, Any], now: float | None = None) -> None:
                """Drop the tokens."""

        failure: ConnectorError
        try:
            return msal.ConfidentialClientApplication(
                self._client_id,
                client_credential=self._credential(),
                authority=f"{self._authority}/{tenant}",
                instance_discovery=False,  # the operator chose the authority
                http_client=_Transport(self._http),
                exclude_scopes=["offline_access"],
                token_cache=Forgetful() if tenant == _ANY_ORGANIZATION else msal.TokenCache(),
            )
        except _Unanswered as error:
            failure = error.reason
        except (ValueError, KeyError):  # discovery was refused, or is no discovery document
            failure = PermanentError("entra.unknown_tenant")
        raise failure

    def _credential(self) -> str | dict[str, Callable[[], str]]:
        if self._settings.entra_identity_client_id is None:
            return self._settings.entra_client_secret or ""
        return {"client_assertion": self._assertion}

    def _assertion(self) -> str:
        """A token of the stamp's managed identity, which the app registration trusts instead of a secret."""
        import msal

        with self._identity_lock:
            if self._identity is None:
                self._identity = msal.ManagedIdentityClient(
                    msal.UserAssignedManagedIdentity(client_id=self._settings.entra_identity_client_id),
                    http_client=_Transport(self._http),
                )
        token = self._identity.acquire_token_for_client(resource=_FEDERATION_AUDIENCE).get("access_token")
        if not isinstance(token, str):
            raise PermanentError("entra.identity_refused")
        return token


class _Unanswered(requests.RequestException):
    """A TransientError in the only dress in which MSAL falls back to a token it still has."""

    def __init__(self, reason: TransientError) -> None:
        super().__init__(reason.code)
        self.reason = reason


@dataclass(frozen=True)
class _Answer:
    """What MSAL reads of a response."""

    status_code: int
    text: str
    headers: Mapping[str, str]

    def raise_for_status(self) -> None:
        """5xx never gets here; MSAL judges the rest itself."""


class _Transport:
    """MSAL's `http_client` over our session: its retries and time-outs, and no answer that MSAL would log."""

    def __init__(self, http: MicrosoftHttp) -> None:
        self._http = http

    def get(self, url: str, *, params: Any = None, headers: Any = None, **_: Any) -> _Answer:
        return self._request("GET", url, params=params, headers=headers, repeatable=True)

    def post(
        self, url: str, *, params: Any = None, data: Any = None, headers: Any = None, **_: Any
    ) -> _Answer:
        """Only the client credentials grant may be repeated; a code can be redeemed once."""
        repeatable = isinstance(data, dict) and data.get("grant_type") == "client_credentials"
        return self._request("POST", url, params=params, data=data, headers=headers, repeatable=repeatable)

    def close(self) -> None:
        """The session is shared."""

    def _request(self, method: str, url: str, **arguments: Any) -> _Answer:
        try:
            response: Response = self._http.request(method, url, **arguments)
        except TransientError as error:
            failure = error
        else:
            response.json()  # MSAL logs the whole text of a token answer that is not JSON
            return _Answer(response.status, response.body.decode(errors="replace"), response.headers)
        raise _Unanswered(failure)


def _check_answer(flow: Mapping[str, Any], parameters: Mapping[str, str]) -> None:
    """Refuse an answer that is not to our question, or not a code."""
    state, expected = parameters.get("state", ""), str(flow.get("state") or "")
    if not expected or not hmac.compare_digest(state.encode(), expected.encode()):
        raise RefusedError(
            "entra.state_mismatch",
            "This sign-in was not started in this browser, or took too long. Please sign in again.",
            title="Sign-in expired",
        )
    error = parameters.get("error")
    if error is None and parameters.get("code"):
        return
    vendor_code = _aadsts(parameters)
    if error == "access_denied":
        raise RefusedError(
            "entra.denied",
            "Microsoft reports that the sign-in was cancelled, or that your organization does not allow it. "
            "Sign in again, or ask the administrator of your Microsoft 365 organization to allow this app.",
            status=403,
            title="Sign-in was not allowed",
            vendor_code=vendor_code,
        )
    if error in _NOT_WITHOUT_PROMPT:
        raise RefusedError(
            "entra.interaction_required",
            "Microsoft asks you to sign in again.",
            title="Please sign in again",
            vendor_code=vendor_code,
        )
    if error in ("temporarily_unavailable", "server_error"):
        raise TransientError("entra.unavailable", vendor_code=vendor_code)
    raise _sign_in_failed(vendor_code)


def _redemption_refusal(result: Mapping[str, Any]) -> ConnectorError:
    vendor_code = _aadsts(result)
    if result["error"] in _OUR_FAULT:
        return PermanentError("entra.client_refused", vendor_code=vendor_code)
    if result["error"] == "invalid_grant":
        return RefusedError(
            "entra.code_expired",
            "This sign-in took too long, or its page was loaded twice. Please sign in again.",
            title="Sign-in expired",
            vendor_code=vendor_code,
        )
    return _sign_in_failed(vendor_code)


def _sign_in_failed(vendor_code: str | None) -> RefusedError:
    return RefusedError(
        "entra.sign_in_failed",
        "Microsoft could not sign you in. Please try again; if it happens again, tell your administrator.",
        title="Sign-in failed",
        vendor_code=vendor_code,
    )


def _invalid_id_token() -> RefusedError:
    return RefusedError(
        "entra.id_token_invalid",
        "Microsoft's answer could not be verified, so you are not signed in. Please sign in again.",
        status=403,
        title="Sign-in could not be verified",
    )


def _aadsts(answer: Mapping[str, Any]) -> str | None:
    """The number of Entra's error, never its text: that names users and tenants."""
    found = _AADSTS.match(str(answer.get("error_description") or ""))
    return found.group() if found else None
