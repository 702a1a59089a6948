"""Every rule that stops a message has words for the administrator, and so has every rule of docs/architecture.md."""

import ast
import re
from pathlib import Path
from typing import get_args

from connector.languages import Language
from connector.messages import brakes
from connector.portal.message_rules import RULES, words_of

ROOT = Path(__file__).parents[2]
TOLD = "it may pass"
"""The rows of the table whose rules say why something is sent."""
NAMING = {"Skip": 0, "Later": 0, "_unread": 0, "Outcome": 1}
"""Who is given a rule, and at which place."""


def documented() -> set[str]:
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    table = text.partition("| Where | Rules |")[2].partition("\n\n")[0]
    return {rule for row in table.splitlines() if TOLD not in row for rule in re.findall(r"`([a-z_]+)`", row)}


def named_in_code() -> set[str]:
    found: set[str] = set(get_args(brakes.Rule)) - {""}
    for path in (ROOT / "connector" / "messages").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            at = NAMING.get(node.func.id) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else None
            if at is not None and isinstance(node, ast.Call) and len(node.args) > at:
                rule = node.args[at]
                found |= {rule.value} if isinstance(rule, ast.Constant) and isinstance(rule.value, str) else set()
    return found


def test_every_rule_has_words() -> None:
    known = set(RULES) - {"due"}
    assert documented() <= known, "a rule of docs/architecture.md has no words"
    missing = {rule for rule in named_in_code() if words_of(rule)[0] == rule}
    assert not missing, "connector/portal/message_rules.py does not say what these are"


def test_a_rule_is_said_in_the_readers_language_and_an_unknown_one_as_it_is() -> None:
    seen, who, how = words_of("no_mobile")
    assert who == "clinic" and Language("portal", "ko").gettext(seen) != seen != Language("portal", "ko").gettext(how)
    assert words_of("sms.refused")[1] == "clinic" and words_of("email.not_allowed")[1] == "operator"
    assert words_of("of_a_later_version") == ("of_a_later_version", "", "")
