"""infra/ says the same as the code: settings, queues, events, alarms. And it is sound Bicep as far as can be seen
without Azure's compiler; what cannot is listed in docs/operations.md.
"""

import json
import re
import subprocess
import sys
from collections.abc import Mapping

import pytest
import yaml

from connector import logs, settings
from connector.checks import microsoft
from connector.regions import Region
from tests.guards.bicep import Bicep, literal, properties, text
from tests.guards.declared import Declared
from tests.guards.source import ROOT, app_sources
from tests.guards.test_environment import HOST_SETTINGS
from tests.guards.test_queues import written

INFRA = ROOT / "infra"
FILES = {path.name: Bicep.read(path) for path in sorted(INFRA.glob("*.bicep"))}
KEYS_THAT_AN_IDENTITY_REPLACES = {"ENTRA_CLIENT_SECRET"} | {
    f"{region.upper()}_{name}" for region in Region for name in ("STORAGE", "COMMUNICATION_KEY")
}
"""Never set in Azure."""
SET_FOR_THE_HOST = {
    "AzureWebJobsStorage__accountName",  # with identity, in place of AzureWebJobsStorage
    "AzureWebJobsStorage__credential",
    "AzureWebJobsStorage__clientId",
    "APPLICATIONINSIGHTS_CONNECTION_STRING",
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING",
    "FUNCTIONS_REQUEST_BODY_SIZE_LIMIT",
}
"""Read by Azure's host alone, and without a meaning on one machine."""
NOT_SET_ON_FLEX = {"FUNCTIONS_WORKER_RUNTIME", "AzureWebJobsStorage"}
UNKNOWN_TO_THE_CHECK = (
    "Microsoft.Network/",
    "Microsoft.Insights/dataCollectionRules@",
    "Microsoft.Authorization/locks@",
)
"""Resource types of which no description is at hand offline: docs/operations.md, "What only Azure can check"."""
FUNCTIONS = {
    "contains", "empty", "environment", "guid", "loadJsonContent", "replace", "resourceId", "string", "subscription",
    "subscriptionResourceId", "tenant", "toUpper", "trim", "union", "uniqueString",
}
"""Of Bicep, as far as they are used; a name that is not here may be a slip."""
DECORATORS = {"allowed", "description", "maxLength", "maxValue", "metadata", "minLength", "minValue"}


@pytest.mark.parametrize("name", FILES)
def test_it_is_bicep(name: str) -> None:
    assert FILES[name].syntax_faults() == []
    assert FILES[name].unknown_names() == []
    assert FILES[name].called() <= FUNCTIONS | DECORATORS


def test_planted_faults_are_found() -> None:
    assert Bicep.parse("param a string\nvar b = a +").syntax_faults()
    wrong = Bicep.parse("param a string\nvar idle = 1\noutput o string = empty(c) ? a : a.idle")
    assert wrong.unknown_names() == ["planted.bicep:3 c", "planted.bicep idle is not used"]


def test_resources_have_the_properties_of_their_types() -> None:
    check = ROOT.parent / "shared" / "tools" / "bicep_check.py"
    if not check.exists():  # not part of the repository: syntax alone is checked then
        return
    paths = [str(path) for path in sorted(INFRA.glob("*.bicep"))]
    run = subprocess.run([sys.executable, str(check), *paths], capture_output=True, text=True, check=False)
    findings = run.stdout.splitlines()
    assert findings[-1].endswith("finding(s)"), run.stderr
    known = [line for line in findings[:-1] if not any(f"version {kind}" in line for kind in UNKNOWN_TO_THE_CHECK)]
    assert known == []


def test_modules_are_given_what_they_ask_for() -> None:
    faults = []
    for file in FILES.values():
        for name, node in file.declared("module").items():
            callee = FILES[literal(node.named_children[1])]
            body = next(n for n in file.walk(node) if n.type == "object")
            given = set(properties(properties(body)["params"]))
            if missing := callee.required_parameters() - given:
                faults.append(f"{file.name} {name} lacks {missing}")
            if extra := given - set(callee.declared("param")):
                faults.append(f"{file.name} {name} is given {extra}")
            outputs = re.findall(rf"\b{name}\.outputs\.(\w+)", text(file.root))
            if lost := set(outputs) - set(callee.declared("output")):
                faults.append(f"{file.name} {name} has no {lost}")
    assert faults == []


def test_parameters_come_from_the_environment() -> None:
    listed = re.findall(r"^param (\w+) = ", (INFRA / "main.bicepparam").read_text("utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(FILES["main.bicep"].declared("param"))


def test_hooks_and_the_guide_use_names_that_a_deployment_has() -> None:
    outputs = set(FILES["main.bicep"].declared("output"))
    given = set(re.findall(r"readEnvironmentVariable\('(\w+)'", (INFRA / "main.bicepparam").read_text("utf-8")))
    wanted = "".join(path.read_text("utf-8") for path in sorted((INFRA / "hooks").iterdir()))
    assert set(re.findall(r"\$\{(\w+):\?", wanted)) <= outputs | given
    guide = (ROOT / "docs" / "operations.md").read_text("utf-8")
    assert set(re.findall(r"\$(CONNECTOR_\w+)", guide)) <= outputs | given
    by_azd = {"AZURE_ENV_NAME", "AZURE_PRINCIPAL_ID", "CONNECTOR_LOGS_CLEANED"}
    assert given - by_azd == {name for name in given if re.search(rf"\b{name}\b", guide)} - by_azd
    hooks = yaml.safe_load((ROOT / "azure.yaml").read_text("utf-8"))["hooks"]
    assert set(re.findall(r"azd hooks run (\w+)", guide)) <= set(hooks)


def test_the_guide_names_lines_that_the_app_writes() -> None:
    guide = (ROOT / "docs" / "operations.md").read_text("utf-8")
    named = set(re.findall(r"`((?:messages|queues|request|checks|vault)\.[a-z_]+)`", guide))
    assert named
    assert [name for name in sorted(named) if f'"{name}"' not in _all_sources()] == []


def app_settings() -> set[str]:
    app = FILES["app.bicep"]
    names = {name for part in ("always", "bySecret", "byKey", "byExportableKey")
             for name in properties(app.variable(part))}
    return {expanded for name in names for expanded in _for_every_region(name)}


def _for_every_region(name: str) -> set[str]:
    return {name.replace("${prefix}", region.upper()) for region in Region}


def test_the_app_gets_every_setting_and_no_other() -> None:
    wanted = set(settings.NAMES) - KEYS_THAT_AN_IDENTITY_REPLACES
    assert app_settings() == wanted | HOST_SETTINGS - NOT_SET_ON_FLEX | SET_FOR_THE_HOST


def cleaning() -> dict[str, str]:
    """What is done to each table before it is stored, as KQL."""
    monitoring = FILES["monitoring.bicep"]
    names = {f"${{{name}}}": literal(monitoring.variable(name)) for name in ("noRow", "toSlash", "withoutSlash")}
    flows = {}
    for node in monitoring.walk():
        part = properties(node) if node.type == "object" else {}
        if "transformKql" in part:
            given = part["transformKql"]
            kql = literal(given) if given.type == "string" else names[f"${{{text(given)}}}"]
            for name, value in names.items():
                kql = kql.replace(name, value)
            flows[literal(part["streams"].named_children[0]).removeprefix("Microsoft-Table-")] = kql
    return flows


def test_logs_are_cleaned_with_what_cleaning_rules_may_use() -> None:
    """Another function or operator than the listed ones and Azure makes no rule, so no stamp."""
    for kql in cleaning().values():
        assert set(re.findall(r"(\w+)\(", re.sub(r"@?'[^']*'", "", kql))) <= {"extract", "parse_json", "tostring"}
        assert set(re.findall(r"\| (\w+)", kql)) <= {"extend", "where"}


def test_no_address_passes_the_cleaning_and_every_line_of_ours_does() -> None:
    rules = cleaning()
    assert rules["AppRequests"] == rules["AppDependencies"] == "source | where false"
    message = re.search(r"\bMessage = extract\(@'(.*?)', 0, Message\)", rules["AppTraces"])
    whole = re.search(r"Properties = parse_json\(extract\(@'(.*?)', 0, tostring\(Properties\)\)\)", rules["AppTraces"])
    assert message and whole
    for said in ("Executing HTTP request: {\n uri: https://visits.example/j/TOKEN }", "GET /j/TOKEN", "'\\/j\\/TOKEN'"):
        kept = re.search(message[1], said)
        assert kept and "TOKEN" not in kept[0] and not re.search(whole[1], said)
    for said in ("messages.alarm_late connection=abc due=3", "Executed 'Functions.messages_dispatch' (Succeeded"):
        kept = re.search(message[1], said)
        assert kept and kept[0] == said
    assert re.search(whole[1], '{"Category":"Function.messages_dispatch","LogLevel":"Information"}')
    for column in ("Message", "OuterMessage", "InnermostMessage"):  # all that hold an exception's text
        assert f" {column} = ''" in rules["AppExceptions"]
    assert "Details = parse_json('[]')" in rules["AppExceptions"]
    assert not logs._VALUE.fullmatch("a/b"), "then a line of ours would be cut"


def test_the_account_has_every_queue() -> None:
    made = {f"{literal(node)}-{region}" for node in FILES["storage.bicep"].variable("queues").named_children
            for region in Region}
    assert made == set().union(*(written(source) for source in app_sources()))


def test_event_grid_brings_what_the_code_reads(declared: Mapping[str, Declared]) -> None:
    triggers = {name for name, one in declared.items() if one.trigger["type"] == "eventGridTrigger"}
    subscriptions = [properties(node) for node in FILES["events.bicep"].variable("subscriptions").named_children]
    assert {literal(one["function"]) for one in subscriptions} == triggers
    brought = {literal(event) for one in subscriptions for event in one["events"].named_children}
    assert brought == set(re.findall(r'"(Microsoft\.Communication\.\w+)"', _all_sources()))


def test_every_alarm_of_the_code_reaches_somebody() -> None:
    alarms = {literal(properties(node)["event"]) for node in FILES["alerts.bicep"].variable("alarms").named_children}
    assert alarms == set(re.findall(r'"([a-z]+\.alarm_\w+)"', _all_sources()))


def test_counted_lines_are_lines_of_the_code(declared: Mapping[str, Declared]) -> None:
    counted = [properties(node) for node in FILES["alerts.bicep"].variable("counted").named_children]
    queries = "".join(literal(one["query"]) for one in counted)
    for event in re.findall(r"startswith '([a-z]+\.[a-z_]+) '", queries):
        assert f'"{event}"' in _all_sources()
    functions = re.findall(r"Functions\.(\w+)", queries)
    assert functions
    assert set(functions) <= set(declared)


def test_every_failure_that_the_code_names_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    named = set(re.findall(r'"([a-z]+\.[a-z_]*(?:failed|error|unread))"', _all_sources()))
    assert {"request.failed", "request.error", "vault.failed", "messages.send_failed"} <= named
    counted = [properties(node) for node in FILES["alerts.bicep"].variable("counted").named_children]
    query = next(literal(one["query"]) for one in counted if literal(one["name"]) == "failures")
    pattern = re.search(r"matches regex @'(.*)'", query)
    assert pattern
    caplog.set_level("INFO", logger="connector")
    for name in sorted(named):
        logs.event(name, code="x")  # as the worker ships it
        assert re.search(pattern[1], caplog.messages[-1]), name


def test_every_alert_has_its_page() -> None:
    guide = (ROOT / "docs" / "operations.md").read_text("utf-8")
    alerts = FILES["alerts.bicep"]
    names = [literal(properties(n)["event"]) for n in alerts.variable("alarms").named_children]
    names = [re.sub(r"[._]", "-", name.replace(".alarm_", "-")) for name in names]
    names += [literal(properties(node)["name"]) for node in alerts.variable("counted").named_children] + ["unhealthy"]
    assert [name for name in names if f"`{name}`" not in guide] == []


def test_the_registration_asks_for_the_permissions_that_are_checked() -> None:
    for path in (INFRA / "entra-app.sh", ROOT / "docs" / "operations.md"):
        asked = set(re.findall(r"\b[A-Z]\w+\.\w+(?:\.\w+)*\.All\b", path.read_text("utf-8")))
        assert asked == set(microsoft.REQUIRED | microsoft.USED), path.name


def test_microsoft_sends_people_back_to_routes_that_exist(declared: Mapping[str, Declared]) -> None:
    script = (INFRA / "entra-app.sh").read_text("utf-8")
    paths = set(re.findall(r"%s/([a-z/]+)", script))
    assert len(paths) == 2
    assert paths <= {one.route for one in declared.values() if "GET" in one.methods}


def test_each_region_has_its_own_locations() -> None:
    places = json.loads((INFRA / "locations.json").read_text("utf-8"))
    assert set(places) == set(Region)
    everywhere = [location for region in places.values() for location in region]
    assert len(everywhere) == len(set(everywhere))
    geographies = [set(region.values()) for region in places.values()]
    assert not geographies[0] & geographies[1] | geographies[1] & geographies[2] | geographies[0] & geographies[2]


def test_the_signing_key_stays_in_the_vault_unless_an_operator_says_otherwise() -> None:
    [body] = FILES["vault.bicep"].resources("Microsoft.KeyVault/vaults/keys@").values()
    made = properties(properties(body)["properties"])
    assert (literal(made["kty"]), literal(made["curveName"])) == ("EC", "P-384")
    assert [literal(one) for one in made["keyOps"].named_children] == ["sign"]
    assert text(properties(made["attributes"])["exportable"]) == "false"
    assert "expiryTime" not in text(body) and "exp" not in properties(made["attributes"]), "then nothing would sign"
    assert "SMART_PRIVATE_KEYS" not in {**properties(FILES["app.bicep"].variable("always")),
                                        **properties(FILES["app.bicep"].variable("byKey"))}  # fmt: skip
    assert re.search(r"^param exportableSigningKeys bool = false$", text(FILES["main.bicep"].root), re.MULTILINE)
    assert "genpkey" not in (INFRA / "hooks" / "keys.sh").read_text("utf-8")


def test_each_role_reaches_no_further_than_the_resource_that_needs_it() -> None:
    assigned = FILES["roles.bicep"].resources("Microsoft.Authorization/roleAssignments@")
    assert {name: text(properties(body)["scope"]) for name, body in assigned.items()} == {
        "appOnHost": "host", "appOnData": "data", "appOnVault": "vault", "appOnKey": "key",
        "appOnCommunication": "communication", "appOnInsights": "insights",
        "operatorOnVault": "vault", "operatorOnKey": "key", "operatorOnData": "data",
    }  # fmt: skip


def test_roles_are_assigned_in_one_file() -> None:
    assigning = [name for name, file in FILES.items() if "roleAssignments@" in text(file.root)]
    assert assigning == ["roles.bicep"]


def _all_sources() -> str:
    return "".join(path.read_text("utf-8") for path in sorted((ROOT / "connector").rglob("*.py")))
