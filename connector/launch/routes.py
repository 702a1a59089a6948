"""SMART App Launch, provider and patient (https://hl7.org/fhir/smart-app-launch/app-launch.html).

The launch page keeps a secret in the browser; the callback page clears its address and posts code, state and secret.
The callback GET consumes nothing, so a prefetch or a reload spends nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import azure.functions as func

from connector import logs, web
from connector.adapters.cerner import authorization_url, error_instance, error_link, error_urn, explained
from connector.errors import ConnectorError, PermanentError, RefusedError, TransientError
from connector.keys import fingerprint
from connector.launch import session, state
from connector.tenants import Connection, TenantScope, connection, connections

if TYPE_CHECKING:
    from connector.bootstrap import Services


_INTERNET_EXPLORER = re.compile(r"Trident/|MSIE ")
_UNEXPLAINED = (
    "The EHR did not accept the sign-in. Close this page and open the visit from the chart again. If it happens again, "
    "give your EHR team the code below."
)


def blueprint(services: Callable[[], Services]) -> func.Blueprint:
    bp = func.Blueprint()

    @bp.function_name("launch_provider")
    @bp.route(route="launch/{connection}/provider", methods=["GET"])
    @web.answers_with_page
    def launch_provider(req: func.HttpRequest) -> func.HttpResponse:
        return _begin(services(), req, "provider")

    @bp.function_name("launch_patient")
    @bp.route(route="launch/{connection}/patient", methods=["GET"])
    @web.page_errors("patient", "patient_launch.html")
    def launch_patient(req: func.HttpRequest) -> func.HttpResponse:
        return _begin(services(), req, "patient")

    for name, route in ("launch_callback", "launch/callback"), ("launch_callback_own", "launch/{connection}/callback"):
        _add_callback(bp, services, name, route)
    return bp


def _add_callback(bp: func.Blueprint, services: Callable[[], Services], name: str, route: str) -> None:
    @bp.function_name(name)
    @bp.route(route=route, methods=["GET"])
    @web.answers_with_page
    def launch_callback(req: func.HttpRequest) -> func.HttpResponse:
        given = web.query_one(req, "state") or ""
        connection_id = state.connection_of(given)
        scope = services().directory.scope_of_connection(connection_id)
        found = connection(scope, connection_id).value
        if state.persona_of(given) == "patient":
            language = web.language_of(req, "patient")
            return web.page("patient_launch.html", language=language, framed_by=found.framed_by, code="")
        return web.page("launch_callback.html", framed_by=found.framed_by)

    @bp.function_name(f"{name}_post")
    @bp.route(route=route, methods=["POST"])
    @web.answers_with_problem
    def launch_callback_post(req: func.HttpRequest) -> func.HttpResponse:
        web.require_same_origin(req, services().settings.public_url)
        return _finish(services(), req)


def _begin(services: Services, req: func.HttpRequest, persona: state.Persona) -> func.HttpResponse:
    connection_id = req.route_params.get("connection", "")
    scope = services.directory.scope_of_connection(connection_id)
    found = connection(scope, connection_id).value
    try:
        return _authorize(services, scope, found, req, persona)
    except ConnectorError as error:
        error.framed_by = found.framed_by
        raise


def _authorize(
    services: Services, scope: TenantScope, found: Connection, req: func.HttpRequest, persona: state.Persona
) -> func.HttpResponse:
    if _INTERNET_EXPLORER.search(req.headers.get("User-Agent", "")):
        raise RefusedError(
            "launch.old_browser",
            "Internet Explorer cannot show video visits. Your EHR team can let PowerChart open this application in "
            "Microsoft Edge.",
            title="Please use Microsoft Edge",
        )
    base = _require_iss(scope, found, web.query_one(req, "iss"), persona)
    launch_code = web.query_one(req, "launch")
    if not launch_code or len(launch_code) > 2048:
        raise RefusedError(
            "launch.no_launch",
            "The EHR sent no launch code. Open the visit from the patient's chart; "
            "if this came from there, the record in the EHR needs correcting.",
            title="No launch code",
        )
    client = services.ehr.client(scope, found, persona)
    configuration = services.ehr.cerner.discover(base)
    begun = state.begin(scope, found.id, persona)
    back = redirect_uri(services, scope, found, persona)
    uri = authorization_url(
        configuration,
        client_id=client.client_id,
        redirect_uri=back,
        state=begun.state,
        scope=services.ehr.scopes(found, persona),
        launch=launch_code,
        aud=base,
        code_challenge=begun.code_challenge,
        nonce=begun.nonce,
    )
    # for browsers that keep no sessionStorage; where cookies of frames are blocked, sessionStorage serves
    kept = web.cookie(
        _cookie_name(begun.state), begun.secret, max_age_s=state.LIFETIME_S, path=urlsplit(back).path, same_site="None"
    )
    return web.page(
        "launch.html" if persona == "provider" else "patient_launch.html",
        language=None if persona == "provider" else web.language_of(req, "patient"),
        code="",
        cookies=(kept,),
        authorize=uri,
        state=begun.state,
        secret=begun.secret,
        framed_by=found.framed_by,
    )


def _finish(services: Services, req: func.HttpRequest) -> func.HttpResponse:
    body = web.json_body(req)
    sent = {name: value for name, value in body.items() if isinstance(value, str)} if isinstance(body, dict) else {}
    connection_id = state.connection_of(sent.get("state", ""))
    scope = services.directory.scope_of_connection(connection_id)
    found = connection(scope, connection_id).value
    page_secret = sent.get("secret") or web.read_cookie(req, _cookie_name(sent["state"]))
    taken = state.take(scope, connection_id, sent["state"], page_secret)
    back = redirect_uri(services, scope, found, taken.persona)
    if back != _callback(services, req.route_params.get("connection")):
        raise RefusedError(
            "launch.other_address",
            "This sign-in came back to the address of another connection, so nothing was opened. Close this page and "
            "open the visit from the patient's chart again.",
            status=403,
            title="Please open it from the chart again",
        )
    base = found.fhir_base_url if taken.persona == "provider" else found.patient_fhir_base_url or ""
    if "code" not in sent:
        raise _denied(services, base, sent)
    client = services.ehr.client(scope, found, taken.persona)
    try:
        tokens = services.ehr.cerner.exchange_code(
            base, client, code=sent["code"], redirect_uri=back, code_verifier=taken.code_verifier
        )
    except (TransientError, PermanentError) as error:
        raise _no_tokens(error) from None
    missing = services.ehr.missing_scopes(tokens.scopes, found, taken.persona)
    if missing:
        raise RefusedError(
            "launch.scopes_missing",
            "The EHR granted less than the connector needs: "
            + ", ".join(sorted(missing))
            + ". Your EHR team must enable these scopes for this application.",
            status=403,
            title="Permissions missing in the EHR",
        )
    if not tokens.id_token:
        raise RefusedError(
            "launch.no_identity",
            "The EHR did not say who signed in. Your EHR team must enable the "
            "scopes openid and fhirUser for this application.",
            status=403,
            title="No user identity",
        )
    try:
        user = services.ehr.cerner.verify_id_token(
            base, tokens.id_token, client_id=client.client_id, ehr_tenant=found.ehr_tenant, nonce=taken.nonce
        )
    except PermanentError as error:
        raise RefusedError(
            "launch.identity_refused",
            "The EHR's statement of who signed in could not be verified, so nothing was "
            "opened. Please tell your administrator.",
            status=403,
            title="Sign-in could not be verified",
            vendor_code=error.code,
        ) from None
    session_id, bearer = session.start(scope, found, taken.persona, user, tokens)
    logs.event("launch.completed", connection=connection_id, persona=taken.persona, encounter=bool(tokens.encounter_id))
    return web.json_response(
        {"session": session_id, "bearer": bearer, "persona": taken.persona},
        cookies=(web.cookie(_cookie_name(taken.state), "", max_age_s=0, path=urlsplit(back).path, same_site="None"),),
    )


def _no_tokens(error: ConnectorError) -> RefusedError:
    """What the person is told when the code brought no tokens. The state is spent and the code may be, so that only a
    new launch helps."""
    if error.code.startswith("vault."):
        again = isinstance(error, TransientError)
        return RefusedError(
            error.code,
            "This service could not sign its request to your EHR, so the EHR was not asked. Close this page and open "
            "the visit from the chart again. "
            + ("If it happens again, give" if again else "Until its operator has mended that, it will fail again: give")
            + " the operator of this service the reference below.",
            status=503 if again else 502,
            title="This service could not sign in to your EHR",
            vendor_code=error.vendor_code,
            vendor_reference=error.vendor_reference,
        )
    if isinstance(error, TransientError):
        return RefusedError(
            "launch.ehr_unavailable",
            "Your EHR did not answer the sign-in. Close this page and open the visit from the chart again. While the "
            "EHR is down, the page /board of this site lists today's visits.",
            status=503,
            title="Please open it from the chart again",
            vendor_reference=error.vendor_reference,
        )
    return RefusedError(
        "launch.code_refused",
        explained(error.vendor_code, _UNEXPLAINED),
        status=403,
        title="The EHR refused the sign-in",
        vendor_code=error.vendor_code,
        vendor_reference=error.vendor_reference,
    )


def redirect_uri(services: Services, scope: TenantScope, found: Connection, persona: state.Persona) -> str:
    """Where the EHR sends the browser back to: one address for the operator's applications, one of its own for each
    connection whose tenant registered its application, and so chose its EHR, itself.

    Else such an EHR could let a clinician sign in at another hospital's, and that code would come here and be sent to
    it for redemption (mix-up: RFC 9700 section 4.4).
    """
    shared = persona not in found.credentials and services.ehr.is_listed(scope, found, persona)
    return _callback(services, None if shared else found.id)


def own_redirect_uri(services: Services, found: Connection) -> str:
    """As `redirect_uri`, of an application that the tenant registers."""
    return _callback(services, found.id)


def _callback(services: Services, connection_id: str | None) -> str:
    return f"{services.settings.public_url}/launch/{f'{connection_id}/' if connection_id else ''}callback"


def _cookie_name(state_value: str) -> str:
    return "launch_" + fingerprint(state_value)[:16]


def _require_iss(scope: TenantScope, found: Connection, iss: str | None, persona: state.Persona) -> str:
    """The connection's own base for the persona, when `iss` equals it exactly; else a page that says what is wrong."""
    base = found.fhir_base_url if persona == "provider" else found.patient_fhir_base_url
    if base is None:
        raise RefusedError(
            "launch.no_patient_base",
            "Patient launch is not set up for this connection. Your administrator can add the patient FHIR base URL.",
            status=404,
            title="Not set up",
        )
    if iss == base:
        return base
    other = next((c.value for c in connections(scope) if iss and c.value.is_listed(iss)), None)
    if other is not None and other.environment != found.environment:
        raise RefusedError(
            "launch.other_environment",
            f"This launch address belongs to the {found.environment} connection, but the "
            f"chart that opened it is {other.environment}. Your EHR team entered the {found.environment} record in the "
            f"{other.environment} system; the right one is in the portal under integration records.",
            status=409,
            title=f"{found.environment.capitalize()} record in the {other.environment} system",
        )
    if other is not None:
        raise RefusedError(
            "launch.other_connection",
            f"This launch address belongs to “{found.name}”, but the chart that "
            f"opened it belongs to “{other.name}”. Your EHR team has to exchange the records.",
            status=409,
            title="Record of another connection",
        )
    raise RefusedError(
        "launch.unknown_iss",
        "The chart that opened this page belongs to no connection of your "
        "organization. Your administrator can add its FHIR base URL in the portal.",
        status=400,
        title="Unknown EHR",
    )


def _denied(services: Services, base: str, sent: dict[str, str]) -> RefusedError:
    urn = error_urn(sent.get("error_uri"))
    refused = RefusedError(
        "launch.denied",
        explained(urn, _UNEXPLAINED),
        status=403,
        title="The EHR refused the sign-in",
        vendor_code=urn,
        vendor_reference=error_instance(sent.get("error_uri")),
    )
    try:
        refused.vendor_link = error_link(sent.get("error_uri"), services.ehr.cerner.discover(base))
    except ConnectorError:
        pass  # without the link the code still says it
    return refused
