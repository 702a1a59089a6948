"""Millennium's search rules, stricter than FHIR's: which parameters go together, and 400 when they do not.

Source: Cerner (Oracle Health) FHIR R4 documentation, "Search" of Appointment, Patient, Practitioner, Location
and Encounter. Pages are snapshots behind an opaque `-pageContext`. Parameters of Practitioner and Location
that nobody here needs are accepted without an effect.
"""

from __future__ import annotations

import re
import uuid
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime

from werkzeug.datastructures import MultiDict

from sandbox.cerner.outcome import FhirError
from sandbox.world import Json

Params = MultiDict[str, str]
Kept = dict[tuple[str, str], Json]
_DATE = re.compile(r"(ge|gt|le|lt)(\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d))")
NEEDED: dict[str, tuple[str, ...]] = {
    "Appointment": ("_id", "patient", "practitioner", "location"),
    "Patient": ("_id", "identifier", "name", "family", "given", "birthdate", "phone", "email",
                "address-postalcode"),
    "Practitioner": ("_id", "identifier", "family", "name"),
    "Location": ("_id", "-physicalType", "type", "address", "address-city", "address-state"),
    "Encounter": ("_id", "patient", "subject"),
}
MORE: dict[str, tuple[str, ...]] = {
    "Appointment": ("date", "-date-or-req-period", "status"),
    "Patient": ("gender",),
    "Practitioner": ("active",),
    "Location": ("name", "organization"),
    "Encounter": ("date", "status", "_lastUpdated"),
}
_MOST = 100


def search(kind: str, args: Params, kept: Kept) -> list[Json]:
    """The rows that match, in Millennium's order; FhirError 400 when a documented rule is broken."""
    needed = [name for name in NEEDED[kind] if name in args]
    for name in args:
        if name not in (*NEEDED[kind], *MORE[kind], "_count"):
            raise FhirError(400, "invalid", f"The query parameter {name} is not supported")
    if not needed:
        names = ", ".join(NEEDED[kind])
        raise FhirError(400, "invalid", f"at least one of {names}, or -pageContext must be provided")
    if "_id" in args:
        rows = [kept[kind, one] for one in dict.fromkeys(args["_id"].split(",")) if (kind, one) in kept]
    else:
        rows = [row for (row_kind, _), row in kept.items() if row_kind == kind]
    if kind == "Appointment":
        return _appointments(args, needed, rows)
    if kind == "Encounter":
        return _encounters(args, rows)
    for name in ("identifier", "name", "family", "given", "birthdate", "phone", "email"):
        if name in args and kind != "Location":
            rows = [row for row in rows if _person_matches(row, name, args[name].casefold())]
    return rows


def _encounters(args: Params, rows: list[Json]) -> list[Json]:
    subject = args.get("patient") or args.get("subject")
    if subject:
        rows = [row for row in rows if f"Patient/{subject.removeprefix('Patient/')}" in references(row)]
    if "status" in args:
        rows = [row for row in rows if row["status"] in args["status"].split(",")]
    if "date" in args:
        rows = [row for row in rows if _within(row["period"]["start"], _limits(args.getlist("date")))]
    if "_lastUpdated" in args:
        limits = _limits(args.getlist("_lastUpdated"))
        rows = [row for row in rows if _within(row["meta"]["lastUpdated"], limits)]
    return rows


def _appointments(args: Params, needed: list[str], rows: list[Json]) -> list[Json]:
    if len(needed) > 1 or any(len(args.getlist(name)) > 1 for name in (*needed, "status")):
        raise FhirError(400, "invalid", "one of _id, patient, practitioner, location may be provided, once")
    dates = [name for name in ("date", "-date-or-req-period") if name in args]
    if len(dates) > 1 or (not dates and needed != ["_id"]):
        raise FhirError(400, "invalid", "exactly one of date or -date-or-req-period must be provided")
    if needed != ["_id"]:
        kind = needed[0].title()
        wanted = {f"{kind}/{one.removeprefix(kind + '/')}" for one in args[needed[0]].split(",")}
        rows = [row for row in rows if wanted & references(row)]
    if dates:
        limits = _limits(args.getlist(dates[0]))
        rows = [row for row in rows if row["status"] != "proposed" and _within(row["start"], limits)]
    if "status" in args:
        rows = [row for row in rows if row["status"] in args["status"].split(",")]
    return sorted(rows, key=lambda row: (str(row["start"]), str(row["id"])))


def _limits(values: list[str]) -> list[tuple[str, datetime]]:
    """One limit, or a lower and an upper one, each with time and offset."""
    found = [_DATE.fullmatch(value) for value in values]
    limits = [(match[1], datetime.fromisoformat(match[2]).astimezone(UTC)) for match in found if match]
    sides = [prefix[0] for prefix, _ in limits]
    if len(limits) != len(values) or sorted(sides) not in (["g"], ["l"], ["g", "l"]):
        raise FhirError(400, "invalid", "date needs a prefix and a time: once, or twice as ge and lt")
    return limits


def _within(start: str, limits: list[tuple[str, datetime]]) -> bool:
    moment = datetime.fromisoformat(start)
    return all(
        {"ge": moment >= limit, "gt": moment > limit, "le": moment <= limit, "lt": moment < limit}[prefix]
        for prefix, limit in limits)


def references(resource: Json) -> set[str]:
    """Whom the resource is about: participants of an appointment, subject of an encounter."""
    actors = [participant.get("actor") for participant in resource.get("participant", [])]
    actors.append(resource.get("subject"))
    return {actor["reference"] for actor in actors if actor and "reference" in actor}


def _person_matches(row: Json, name: str, wanted: str) -> bool:
    names, telecoms = row.get("name", [{}]), row.get("telecom", [])
    digits = re.sub(r"\D", "", wanted)
    values: dict[str, list[str]] = {
        "identifier": [one["value"] for one in row.get("identifier", [])],
        "name": [part for one in names for part in (one["family"], *one["given"])],
        "family": [one["family"] for one in names],
        "given": [part for one in names for part in one["given"]],
        "birthdate": [row.get("birthDate", "")],
        "email": [one["value"] for one in telecoms if one["system"] == "email"],
    }
    if name == "phone":
        phones = [one["value"] for one in telecoms if one["system"] == "phone"]
        return any(re.sub(r"\D", "", phone).endswith(digits) for phone in phones)
    if name in ("name", "family", "given"):
        return any(value.casefold().startswith(wanted) for value in values[name])
    return wanted.rpartition("|")[2] in [value.casefold() for value in values[name]]


def page_size(kind: str, args: Params) -> int:
    """`_count`, which `_id` overrules; the defaults are those that were observed."""
    asked = args.get("_count", "10" if kind == "Encounter" else "20")
    if not asked.isdecimal() or int(asked) < 1:
        raise FhirError(400, "invalid", "_count must be a positive whole number")
    return _MOST if "_id" in args else min(int(asked), _MOST)


@dataclass(frozen=True)
class Page:
    """The ids still to be shown, and how many at a time."""

    ids: list[str]
    size: int

    def here(self) -> list[str]:
        return self.ids[: self.size]

    def rest(self, *, repeat: bool) -> Page | None:
        """What follows; `repeat`: starting with the last row of this page, as happens on a live server."""
        if len(self.ids) <= self.size:
            return None
        return Page(self.ids[self.size - (1 if repeat and self.size > 1 else 0):], self.size)


class Pages:
    """The page contexts given out; old ones are forgotten."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Page] = OrderedDict()

    def keep(self, page: Page) -> str:
        context = str(uuid.uuid4())
        self._kept[context] = page
        while len(self._kept) > 10_000:
            self._kept.popitem(last=False)
        return context

    def take(self, context: str) -> Page:
        """A page may be read again."""
        page = self._kept.get(context)
        if page is None:
            raise FhirError(400, "invalid", "-pageContext is not valid")
        return page
