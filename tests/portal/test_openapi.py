"""The OpenAPI document describes /api/v1 as it is: valid 3.1, and the same paths and methods as the app."""

import re
from collections.abc import Iterator
from typing import Any

import azure.functions as func

from connector import portal
from connector.portal.api import OPERATIONS, openapi
from tests.running import Live

METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}
TYPES = {"object", "array", "string", "integer", "number", "boolean", "null"}
PUBLIC = "https://visits.hospital.example"


ONE = "/api/v1/connections/{connection}"
WITH_VERSION = {
    ("patch", "/api/v1/senders/{sender}"), ("delete", "/api/v1/senders/{sender}"), ("patch", ONE), ("delete", ONE),
    ("put", f"{ONE}/departments"), ("put", f"{ONE}/sender"), ("put", f"{ONE}/credentials/{{persona}}"),
    ("delete", f"{ONE}/credentials/{{persona}}"), ("post", f"{ONE}/history/{{change}}/restore"),
    ("put", f"{ONE}/messages/settings"), ("put", f"{ONE}/checklist"), ("put", "/api/v1/configuration")}
"""Every change of what another may change at the same time. The rest is made once (PUT of tenant and consents, POST of
connections, senders, numbers), cannot change (user links), or must not lose a race (brakes, opt-outs)."""


def document(public_url: str) -> dict[str, Any]:
    return openapi.document(public_url, OPERATIONS)


def operations(found: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any], list[dict[str, Any]]]]:
    for path, item in found["paths"].items():
        for method in METHODS & set(item):
            yield path, method, item[method], item.get("parameters", []) + item[method].get("parameters", [])


def values(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
    for below in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from values(below)


def test_it_has_the_form_of_openapi_3_1() -> None:
    found = document(PUBLIC)
    assert re.fullmatch(r"3\.1\.\d+", found["openapi"])
    assert set(found) <= {"openapi", "info", "servers", "security", "paths", "components", "tags", "externalDocs"}
    assert {"title", "version"} <= set(found["info"])
    assert found["servers"] == [{"url": PUBLIC}]
    for requirement in found["security"]:
        assert set(requirement) <= set(found["components"]["securitySchemes"])
    for path, item in found["paths"].items():
        assert path.startswith("/")
        assert set(item) <= METHODS | {"parameters", "summary", "description", "servers", "$ref"}


def test_every_operation_is_complete() -> None:
    for path, method, operation, parameters in operations(document(PUBLIC)):
        assert operation["summary"]
        named = {parameter["name"] for parameter in parameters if parameter["in"] == "path"}
        assert named == set(re.findall(r"{(\w+)}", path))
        assert all(one["required"] == (one["in"] != "query") and one["schema"] for one in parameters)
        assert all(re.fullmatch(r"[1-5]\d\d", status) and answer["description"]
                   for status, answer in operation["responses"].items())
        assert any(status.startswith("2") for status in operation["responses"])
        assert {"401", "403", "503"} <= set(operation["responses"])
        assert "requestBody" in operation or method in ("get", "post", "delete"), "a pause has nothing to say"
        assert "requestBody" not in operation or method not in ("get", "delete")
        versioned = any(parameter["name"] == "If-Match" for parameter in parameters)
        assert versioned == ((method, path) in WITH_VERSION)
        for content in [operation.get("requestBody", {}), *operation["responses"].values()]:
            assert all(media["schema"] for media in content.get("content", {}).values())


def test_every_schema_is_known_and_used() -> None:
    found = document(PUBLIC)
    schemas = found["components"]["schemas"]
    referred = {node["$ref"] for node in values(found) if "$ref" in node}
    assert {name.removeprefix("#/components/schemas/") for name in referred} == set(schemas)
    for schema in schemas.values():
        for node in values(schema):
            kind = node.get("type")
            assert not isinstance(kind, str) or kind in TYPES
            assert set(node.get("required", [])) <= set(node.get("properties", node.get("required", [])))


def test_it_names_each_route_of_the_app_and_no_other(live: Live) -> None:
    app = func.FunctionApp()
    app.register_functions(portal.api_blueprint(lambda: live.services))
    declared = set()
    for function in app.get_functions():
        trigger = function.get_trigger().get_dict_repr()
        for method in trigger["methods"]:
            declared.add(("/" + trigger["route"], str(getattr(method, "value", method)).lower()))
    described = {(path, method) for path, method, _, _ in operations(document(PUBLIC))}
    assert declared - {("/api/v1/openapi.json", "get")} == described


def test_it_is_served_without_a_token_and_its_answers_fit(live: Live) -> None:
    served = live.api("GET", "/openapi.json", token="")
    assert (served.status_code, served.json()) == (200, document(live.app))
    schemas = served.json()["components"]["schemas"]
    one = live.api("GET", f"/connections/{live.connection_id()}").json()
    assert set(schemas["Connection"]["required"]) <= set(one) <= set(schemas["Connection"]["properties"])
    records = live.api("GET", f"/connections/{live.connection_id()}/integration-records").json()
    assert set(records) == set(schemas["IntegrationRecords"]["properties"])
    problem = live.api("GET", "/connections/azzzzzzzz").json()
    assert set(schemas["Problem"]["required"]) <= set(problem) <= set(schemas["Problem"]["properties"])
