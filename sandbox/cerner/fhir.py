"""Simulated Cerner FHIR R4 server: discovery, reads, searches and Appointment PATCH, in one persona.

Source: Cerner (Oracle Health) Millennium FHIR R4 documentation ("General information", Appointment, Patient,
Location, Practitioner, Encounter) and SMART App Launch 2.x. The provider host serves provider and system
tokens, the patient host patient tokens only, which see nothing but their own patient.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from typing import Literal, NoReturn

import flask
from flask import request
from flask.typing import ResponseReturnValue

from sandbox import stand_in
from sandbox.cerner import discovery, patching, searching
from sandbox.cerner.outcome import FhirError, outcome
from sandbox.cerner.scopes import RESOURCES, Interaction, Persona, allows
from sandbox.world import Grant, Hospital, Json, World

_ACCEPTED = {"*/*", "application/*", "application/json", "application/fhir+json", "application/json+fhir"}
_URN = "urn:cerner:error:oauth2:resource-access"


def create_app(world: World, persona: Literal["provider", "patient"]) -> flask.Flask:
    """The FHIR host of `persona`; requests count as `cerner` `Appointment.search` and so on."""
    app = stand_in.make(world, "cerner", refusal=_broken)
    server = _Server(world, persona)
    app.register_error_handler(FhirError, lambda problem: outcome(problem.status, problem.code, problem.text))
    app.after_request(server.finish)

    def add(path: str, endpoint: str, view: Callable[..., ResponseReturnValue], method: str = "GET") -> None:
        app.add_url_rule(f"/r4/<tenant>{path}", endpoint, view, methods=[method])

    add("/metadata", "metadata", server.metadata)
    add("/.well-known/smart-configuration", "smart-configuration", server.smart_configuration)
    for kind in RESOURCES:
        add(f"/{kind}", f"{kind}.search", server.search)
        add(f"/{kind}/<resource_id>", f"{kind}.read", server.read)
    add("/Appointment/<resource_id>", "Appointment.patch", server.patch, "PATCH")
    return app


def _broken(status: int) -> ResponseReturnValue:
    if status == 429:
        body = {"severity": "error", "code": "throttled", "diagnostics": "Too Many Requests"}
        return _fhir({"resourceType": "OperationOutcome", "issue": [body]}, 429)
    return outcome(500, "exception", "Internal Server Error")


def _fhir(body: Json, status: int = 200, **headers: str) -> flask.Response:
    return flask.Response(json.dumps(body, ensure_ascii=False), status, headers,
                          content_type="application/fhir+json;charset=UTF-8")


class _Server:
    def __init__(self, world: World, persona: Literal["provider", "patient"]) -> None:
        self._world = world
        self._persona: Persona = persona
        self._pages = searching.Pages()

    def metadata(self, tenant: str) -> ResponseReturnValue:
        hospital = self._hospital(tenant)
        self._negotiate()
        base = self._base(hospital)
        return _fhir(discovery.capability_statement(self._world, hospital, self._persona, base))

    def smart_configuration(self, tenant: str) -> ResponseReturnValue:
        hospital = self._hospital(tenant)
        return flask.jsonify(discovery.smart_configuration(self._world, hospital, self._persona))

    def search(self, tenant: str) -> ResponseReturnValue:
        kind = self._kind()
        hospital, own = self._enter(tenant, kind, "search")
        if kind == "Location" and own:
            raise FhirError(403, "forbidden", "Location search is not available to patients")
        base, mischief = self._base(hospital), self._world.mischief
        if kind == "Appointment" and "bad_row" in mischief:
            raise FhirError(500, "exception", "Internal Server Error")
        kept = self._kept(tenant)
        if "-pageContext" in request.args:
            page = self._pages.take(request.args["-pageContext"])
        else:
            with self._world.lock:
                found = searching.search(kind, request.args, kept)
            mine = [resource["id"] for resource in found if _visible(resource, own)]
            page = searching.Page(mine, searching.page_size(kind, request.args))
        rows = [kept[kind, found_id] for found_id in page.here() if (kind, found_id) in kept]
        links = [{"relation": "self", "url": request.url}]
        if rest := page.rest(repeat="repeat_across_pages" in mischief):
            context = self._pages.keep(rest)
            links.append({"relation": "next",
                          "url": f"{base}/{kind}?-pageContext={context}&-pageDirection=NEXT"})
        if kind == "Appointment" and rows and "malformed_entry" in mischief:
            rows[0] = rows[0] | {"start": 17, "participant": "none", "serviceType": [None]}
        bundle: Json = {"resourceType": "Bundle", "id": str(uuid.uuid4()), "type": "searchset", "link": links}
        if rows:
            bundle["entry"] = [{"fullUrl": f"{base}/{kind}/{row['id']}", "resource": row} for row in rows]
        return _fhir(bundle)

    def read(self, tenant: str, resource_id: str) -> ResponseReturnValue:
        kind = self._kind()
        _, own = self._enter(tenant, kind, "read")
        resource = self._kept(tenant).get((kind, resource_id))
        if resource is None:
            raise FhirError(404, "not-found", "Not Found")
        if not _visible(resource, own):
            raise FhirError(403, "forbidden", "The resource belongs to another patient")
        return _fhir(resource, ETag=f'W/"{resource["meta"]["versionId"]}"')

    def patch(self, tenant: str, resource_id: str) -> ResponseReturnValue:
        hospital, _ = self._enter(tenant, "Appointment", "patch")
        if self._persona == "patient":
            raise FhirError(403, "forbidden", "Appointment cannot be changed by patients")
        version = patching.patch(self._world, hospital, resource_id,
                                 can_read=allows(self._token().scopes, "Appointment", "read"))
        return "", 200, {"ETag": f'W/"{version}"', "Content-Type": "text/html"}

    def finish(self, response: flask.Response) -> flask.Response:
        """Headers that every reply carries, and bodies cut in the middle when asked for."""
        if "malformed_json" in self._world.mischief and response.status_code == 200:
            response.set_data(response.get_data()[: len(response.get_data()) // 2])
        response.headers["X-Request-Id"] = str(uuid.uuid4())
        response.headers["opc-request-id"] = f"/{uuid.uuid4().hex.upper()}/{uuid.uuid4().hex.upper()}"
        response.headers["Cache-Control"] = "no-cache"
        response.headers["Vary"] = "Origin"
        return response

    def _kept(self, tenant: str) -> searching.Kept:
        """The rows of a tenant; waits while a reset fills them anew."""
        with self._world.lock:
            return self._world.resources[tenant]

    def _kind(self) -> str:
        return str(request.endpoint).partition(".")[0]

    def _base(self, hospital: Hospital) -> str:
        ports, tenant = self._world.ports, hospital.ehr_tenant
        return ports.fhir_base(tenant) if self._persona == "provider" else ports.patient_fhir_base(tenant)

    def _hospital(self, tenant: str) -> Hospital:
        hospital = self._world.hospital_of_ehr_tenant(tenant)
        if hospital is None:
            flask.abort(flask.Response("Tenant not valid or accessible", 403, content_type="text/plain"))
        return hospital

    def _negotiate(self) -> None:
        if request.accept_mimetypes and not _ACCEPTED & {kind for kind, _ in request.accept_mimetypes}:
            flask.abort(flask.Response("", 406))

    def _enter(self, tenant: str, kind: str, interaction: Interaction) -> tuple[Hospital, str | None]:
        """The hospital, and the only patient whom this token may see (None: everybody)."""
        hospital = self._hospital(tenant)
        grant = self._token()
        if grant.hospital != hospital.key or (grant.persona == "patient") != (self._persona == "patient"):
            self._unauthorized("invalid-access-token")
        self._negotiate()
        if not allows(grant.scopes, kind, interaction):
            message = (f'code="{_URN}:insufficient-scopes", error="insufficient_scope", '
                       'subcode="no_scope_for_resource_path"')
            flask.abort(flask.make_response(flask.jsonify(code=403, message=message), 403))
        return hospital, grant.patient_id if grant.persona == "patient" else None

    def _token(self) -> Grant:
        scheme, _, value = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not value:
            self._unauthorized("token-required")
        grant = self._world.grants.get(value)
        if grant is None or grant.kind != "access" or grant.expires < time.time():
            self._unauthorized("invalid-access-token")
        return grant

    def _unauthorized(self, name: str) -> NoReturn:
        message = f'code="{_URN}:{name}", error="invalid_token"'
        reply = flask.make_response(flask.jsonify(code=401, message=message), 401)
        reply.headers["WWW-Authenticate"] = f"Bearer {message}"
        flask.abort(reply)


def _visible(resource: Json, own: str | None) -> bool:
    if own is None or resource["resourceType"] in ("Practitioner", "Location"):
        return True
    if resource["resourceType"] == "Patient":
        return bool(resource["id"] == own)
    return f"Patient/{own}" in searching.references(resource)
