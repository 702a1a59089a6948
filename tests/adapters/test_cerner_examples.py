"""Reading HL7's published FHIR examples whole, and some two thousand copies with one place spoiled each."""

from __future__ import annotations

import copy
import json
import random
import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from connector.adapters.cerner import capabilities, parse
from connector.adapters.cerner.clean import Always, Unreadable
from connector.ehr import ContactPoint
from tests.adapters.test_cerner_parse import PARSERS, Json

EXAMPLES = Path(__file__).parents[2] / "node_modules" / "hl7.fhir.r4.examples"
MUTATIONS = 30


def examples() -> list[Path]:
    return sorted(path for kind in PARSERS for path in EXAMPLES.glob(f"{kind}-*.json"))


def test_the_examples_are_there() -> None:
    assert len(examples()) == 63


@pytest.mark.parametrize("path", examples(), ids=lambda path: path.stem)
def test_published_examples_lose_nothing(path: Path) -> None:
    raw = json.loads(path.read_bytes())
    value, dropped = PARSERS[raw["resourceType"]](raw)
    assert dropped == []
    for name, expected in expectations(raw).items():
        assert getattr(value, name) == expected, name


@pytest.mark.parametrize("path", examples(), ids=lambda path: path.stem)
def test_broken_examples_cost_only_what_is_broken(path: Path) -> None:
    """A value that survives in the mutant must be read from it, or its field be named as dropped."""
    original = json.loads(path.read_bytes())
    kind = original["resourceType"]
    whole, _ = PARSERS[kind](original)
    chance = random.Random(path.stem)  # noqa: S311 - reproducible, not secret
    for _ in range(MUTATIONS):
        mutant = copy.deepcopy(original)
        touched, action = mutate(mutant, chance)
        try:
            value, dropped = PARSERS[kind](mutant)
        except Unreadable:
            assert touched.split(".")[0] in ("id", "status", "fhirVersion", "resourceType")
            continue
        if action == "number" and used(kind, touched):
            assert dropped, touched
        assert all(re.fullmatch(rf"{kind}(\.[A-Za-z]+)+", name) for name in dropped), dropped
        for name in (set(vars(whole)) - affected(touched)) if not dropped else ():
            assert getattr(value, name) == getattr(whole, name), (name, touched)


# What the raw JSON says, worked out without the code under test


def expectations(raw: Json) -> Json:
    kind = raw["resourceType"]
    if kind == "CapabilityStatement":
        resources = [r for rest in raw.get("rest", []) if rest["mode"] == "server" for r in rest.get("resource", [])]
        return {
            "fhir_version": raw["fhirVersion"],
            "interactions": {r["type"]: {i["code"] for i in r.get("interaction", [])} for r in resources},
            "search_parameters": {r["type"]: {p["name"] for p in r.get("searchParam", [])} for r in resources},
        }
    return {"id": raw["id"], **globals()[f"expected_{kind.lower()}"](raw)}


def ids(references: list[Json], kind: str) -> list[str]:
    texts = [reference.get("reference", "") for reference in references]
    return [text.partition("/")[2] for text in texts if text.startswith(f"{kind}/")]


def instant(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text).astimezone(UTC) if text else None


def expected_appointment(raw: Json) -> Json:
    actors = [participant.get("actor", {}) for participant in raw["participant"]]
    return {
        "status": raw["status"],
        "start": instant(raw.get("start")),
        "end": instant(raw.get("end")),
        "patient_ids": tuple(ids(actors, "Patient")),
        "practitioner_ids": tuple(ids(actors, "Practitioner")),
        "location_ids": tuple(ids(actors, "Location")),
        "has_virtual_room": False,
    }


def expected_patient(raw: Json) -> Json:
    contacts = [p for p in raw.get("telecom", []) if p.get("system") in ("phone", "email") and p.get("value")]
    replaced = [link["other"] for link in raw.get("link", []) if link["type"] == "replaced-by"]
    return {
        "active": raw.get("active", True),
        "deceased": bool(raw.get("deceasedBoolean") or raw.get("deceasedDateTime")),
        "replaced_by": next(iter(ids(replaced, "Patient")), None),
        "birth_date": date.fromisoformat(raw["birthDate"]) if "birthDate" in raw else None,
        "gender": raw.get("gender"),
        "contacts": tuple(
            ContactPoint(
                p["system"],
                p["value"],
                p.get("use"),
                p.get("rank"),
                first_moment(p.get("period", {}).get("start")),
                after(p.get("period", {}).get("end")),
            )
            for p in contacts
        ),
        "reminder_channels": None,
    }


def first_moment(text: str | None) -> datetime | None:
    assert text is None or len(text) in (4, 7, 10), "extend this for times"
    return datetime.fromisoformat((text + "-01-01")[:10]).replace(tzinfo=UTC) if text else None


def after(text: str | None) -> datetime | None:
    """When a period that ends with this year or day is over."""
    if text is None:
        return None
    assert len(text) in (4, 10)
    if len(text) == 4:
        return datetime(int(text) + 1, 1, 1, tzinfo=UTC)
    return datetime.fromisoformat(text).replace(tzinfo=UTC) + timedelta(days=1)


def expected_practitioner(raw: Json) -> Json:
    names = [(n.get("text"), n.get("given", []), n.get("family", "")) for n in raw.get("name", [])[:1]]
    return {"display_name": next((text or " ".join([*given, family]) for text, given, family in names), None)}


def expected_location(raw: Json) -> Json:
    return {"name": raw.get("name")}


def expected_encounter(raw: Json) -> Json:
    return {
        "patient_id": next(iter(ids([raw.get("subject", {})], "Patient")), None),
        "appointment_ids": tuple(ids(raw.get("appointment", []), "Appointment")),
    }


# Mutations

READ_FROM = {
    "meta": {"version"},
    "name": {"display_name", "name"},
    "telecom": {"contacts"},
    "birthDate": {"birth_date", "born_by"},
    "identifier": {"medical_record_number"},
    "communication": {"language"},
    "link": {"replaced_by"},
    "extension": {"reminder_channels"},
    "deceasedBoolean": {"deceased"},
    "deceasedDateTime": {"deceased"},
    "subject": {"patient_id"},
    "appointment": {"appointment_ids"},
    "serviceType": {"service_types"},
    "contained": {"has_virtual_room"},
    "participant": {"patient_ids", "practitioner_ids", "location_ids"},
    "patchFormat": {"json_patch"},
    "fhirVersion": {"fhir_version"},
    "rest": {"interactions", "search_parameters", "authorization_endpoint", "token_endpoint"},
}


def affected(touched: str) -> set[str]:
    first = touched.split(".")[0]
    return READ_FROM.get(first, {first})


SHAPES = {
    "Appointment": parse._APPOINTMENT,
    "Patient": parse._PATIENT,
    "Practitioner": {"id": str, "name": [parse._NAME]},
    "Location": {"id": str, "name": str},
    "Encounter": parse._ENCOUNTER,
    "CapabilityStatement": capabilities._CAPABILITY,
}


def used(kind: str, path: str) -> bool:
    """Whether a value at `path` is one that we read."""
    shape: Any = SHAPES[kind]
    for step in path.split("."):
        if step in ("extension", "contained", "rest"):
            return False  # of these only some are read
        if isinstance(shape, list):
            shape = shape[0]
        else:
            shape = shape.get(step) if isinstance(shape, dict) else None
        if shape is None:
            return False
    return not isinstance(shape, Always)


def mutate(raw: Json, chance: random.Random) -> tuple[str, str]:
    """Spoil one random place of the resource; returns its path and what was done."""
    places: list[tuple[Any, Any, str]] = []

    def walk(value: Any, path: str) -> None:
        for key, child in value.items() if isinstance(value, dict) else enumerate(value):
            here = f"{path}.{key}".lstrip(".")
            places.append((value, key, here))
            if isinstance(child, dict | list):
                walk(child, here)

    walk(raw, "")
    parent, key, path = chance.choice([place for place in places if not place[2].startswith("text")])
    action = chance.choice(["drop", "rename", "null", "text", "number", "list", "object", "empty", "boolean"])
    if action == "drop" or (action == "rename" and not isinstance(parent, dict)):
        del parent[key]
    elif action == "rename":
        parent[f"{key}X"] = parent.pop(key)
    else:
        spoiled = {
            "null": None,
            "text": "?? nonsense ??",
            "number": -7.5,
            "list": [],
            "object": {},
            "empty": "",
        }
        parent[key] = spoiled.get(action, True)
    return path, action
