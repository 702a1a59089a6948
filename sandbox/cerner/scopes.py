"""Which scopes simulated Cerner grants, and what a granted scope allows.

Source: Cerner authorization framework documentation; SMART App Launch 2.x, "Scopes". An app is registered for
one syntax and only that is granted; whatever is not granted is dropped without a word.
"""

from __future__ import annotations

import re
from typing import Literal

Persona = Literal["provider", "patient", "system"]
Interaction = Literal["read", "search", "patch"]
LAUNCH_SCOPES = frozenset({"launch", "launch/patient", "openid", "fhirUser", "profile", "online_access",
                           "offline_access"})
RESOURCES = frozenset({"Appointment", "Patient", "Practitioner", "Location", "Encounter"})
_DATA_SCOPE = re.compile(r"(patient|user|system)/([A-Za-z]+)\.([a-z]+)")
_CONTEXTS: dict[Persona, frozenset[str]] = {
    "provider": frozenset({"user", "patient"}),
    "patient": frozenset({"user", "patient"}),
    "system": frozenset({"system"}),
}
_LETTERS: dict[Interaction, str] = {"read": "r", "search": "s", "patch": "u"}


def grantable(scope: str, persona: Persona, version: str) -> bool:
    """Would this app, registered for scope syntax `version` (v1 or v2), get `scope`?"""
    if scope in LAUNCH_SCOPES:
        return persona != "system" and (scope != "launch/patient" or persona == "patient")
    matched = _DATA_SCOPE.fullmatch(scope)
    if not matched or matched[1] not in _CONTEXTS[persona] or matched[2] not in RESOURCES:
        return False
    writable = matched[2] == "Appointment" and persona != "patient"
    if version == "v1":
        return matched[3] == "read" or (matched[3] == "write" and writable)
    return re.fullmatch("c?r?u?s?" if writable else "r?s?", matched[3]) is not None


def allows(scopes: tuple[str, ...], resource: str, interaction: Interaction) -> bool:
    for scope in scopes:
        matched = _DATA_SCOPE.fullmatch(scope)
        if matched and matched[2] == resource:
            word = "write" if interaction == "patch" else "read"
            letters = "" if matched[3] in ("read", "write") else matched[3]
            if matched[3] == word or _LETTERS[interaction] in letters:
                return True
    return False
