"""The served API keeps to its OpenAPI document, whatever it is sent: no fault of ours, no undocumented answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import hypothesis
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from connector import launch, tenants
from connector.ehr import EhrUser
from connector.portal.api import OPERATIONS
from connector.portal.api.openapi import document
from sandbox.cast import HARBOR
from tests.running import GUEST, Live

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_headers_conformance,
          response_schema_conformance]
SEEN: Counter[tuple[str, int]] = Counter()
RIGHT = {one.run.__name__ for one in OPERATIONS if one.body is None and one.method != "DELETE"}
RIGHT -= {"checks_latest", "numbers_operation"}  # not there
RIGHT -= {"appointment_types", "locations"}  # the EHR refuses invented locations
"""Operations that nothing has to be invented for, and that end nothing: each is answered well at least once. What a
good body does is asked by test_api_writes and the features' own tests."""
DEEP = hypothesis.settings.get_current_profile_name() == "deep"
"""`make test ARGS=--hypothesis-profile=deep`: every boundary of every field, some 3,000 requests."""

config = schemathesis.Config.from_dict({"phases": {"coverage": {"enabled": DEEP}}, "seed": 4})
schema = schemathesis.openapi.from_dict(document("http://127.0.0.1", OPERATIONS), config=config)
COSTS = {one.run.__name__: one.cost for one in OPERATIONS}


@dataclass
class Guest:
    """A tenant of its own with one of everything, so that what is right is found as well as what is wrong."""

    live: Live
    token: str
    known: dict[str, str]

    def etag(self, path: str) -> str:
        """Of the thing that an address belongs to, as it is now."""
        scope = self.live.services.directory.scope(GUEST)
        if "{connection}" not in path:
            of_sender = "{sender}" in path
            return (tenants.versioned_sender(scope, self.known["sender"]) if of_sender else tenants.export(scope)).etag
        one = self.known["connection"]
        if path.endswith("/checklist"):
            return tenants.checklist(scope, one).etag or '"none"'
        return tenants.connection(scope, one).etag


@pytest.fixture(scope="module")
def guest(live: Live) -> Iterator[Guest]:
    yield filled(live)
    asked = {name for name, _ in SEEN}
    right = {name for name, status in SEEN if status < 300 or status == 429}
    assert asked & RIGHT <= right, "only faults were asked for"


def filled(live: Live) -> Guest:
    token = live.token(tid=GUEST)

    def ask(method: str, path: str, body: Any = None, etag: str | None = None) -> requests.Response:
        answer = live.api(method, path, body, token=token, etag=etag)
        assert answer.ok, answer.text
        return answer

    ask("PUT", "/tenant", {"region": "apac"})
    sender = ask("POST", "/senders", {"kind": "alphanumeric", "value": "Guest", "label": "Guest"}).json()["id"]
    made = ask("POST", "/connections", {
        "name": "Guest", "environment": "test", "fhir_base_url": live.world.ports.fhir_base(HARBOR.ehr_tenant),
        "clinic_name": "Guest", "contact_phone": "+61255501234"})
    one = made.json()["id"]
    ask("PUT", f"/connections/{one}/sender", {"sender_id": sender}, made.headers["ETag"])
    scope = live.services.directory.scope(GUEST)
    launch.add_link(scope, one, EhrUser("https://ehr.example", "Practitioner/1"), "oid")
    return Guest(live, token, {
        "connection": one, "sender": sender, "persona": "system",
        "link": launch.user_links(scope, one).items[0].id, "change": tenants.history(scope, one).items[-1].id})


@schema.parametrize()
@hypothesis.settings(max_examples=6, derandomize=True, deadline=None, database=None,
                     phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck))
def test_the_api_answers_as_it_says(guest: Guest, case: Case) -> None:
    name = str(case.operation.definition.raw["operationId"])
    if COSTS[name] > 1 and sum(times for (asked, _), times in SEEN.items() if asked == name) >= 3:
        return  # each of these asks the vendors some ten times
    if case.method != "DELETE":
        for parameter in case.path_parameters:
            case.path_parameters[parameter] = guest.known.get(parameter, case.path_parameters[parameter])
    if "If-Match" in case.headers:
        case.headers["If-Match"] = guest.etag(case.operation.path)
    answer = case.call(base_url=guest.live.app, headers={"Authorization": f"Bearer {guest.token}"}, timeout=60)
    SEEN[name, answer.status_code] += 1
    case.validate_response(answer, checks=CHECKS)
