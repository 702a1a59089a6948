"""Reading a Cerner FHIR R4 server: single records, and searches over all their pages."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, TypeVar
from urllib.parse import unquote, urljoin, urlsplit

from connector.adapters.cerner import parse
from connector.adapters.cerner.clean import Unreadable
from connector.adapters.http import OutgoingHttp, Response, origin
from connector.ehr import Appointment, Encounter, Found, Location, Patient, Practitioner
from connector.errors import ConnectorError, PermanentError, TransientError

PAGE_SIZE = 50
IDS_PER_SEARCH = 50
MAX_PAGES = 200
SEARCH_S, LOOKUP_S = 60.0, 20.0
"""Seconds for all pages of a search, or of records by id: no server, however slow and endless, may hold a worker until
the host ends it (`functionTimeout`), with what it does for others."""
_URN = re.compile(r"urn:cerner:error:[A-Za-z0-9:._-]{1,160}")
_SCOPE_WORDS = re.compile(r"insufficient[_-]scope")

T = TypeVar("T", Appointment, Patient, Practitioner, Location)
V = TypeVar("V", Appointment, Patient, Practitioner, Location, Encounter)
Parse = Callable[[Any, str], tuple[V, list[str]]]


class TokenSource(Protocol):
    """Gives the access token for each request; `renew=True` says that the last one was refused with 401."""

    def __call__(self, *, renew: bool = False) -> str: ...


class FhirReader:
    """One FHIR base seen with one token. Every method raises connector.errors and never returns a stranger's
    record for an id that was asked for."""

    def __init__(self, http: OutgoingHttp, fhir_base: str, token: TokenSource) -> None:
        http.policy.check_url(fhir_base)
        self._http = http
        self._base = fhir_base.rstrip("/")
        self._token = token

    def appointment(self, identity: str) -> Appointment:
        return self._read("Appointment", identity, parse.appointment)

    def patient(self, identity: str) -> Patient:
        """The only way to see that a patient was merged: searches leave merged patients out."""
        return self._read("Patient", identity, parse.patient)

    def encounter(self, identity: str) -> Encounter:
        return self._read("Encounter", identity, parse.encounter)

    def practitioner(self, identity: str) -> Practitioner:
        return self._read("Practitioner", identity, parse.practitioner)

    def appointments_by_id(self, ids: Iterable[str]) -> Found[Appointment]:
        return self._by_id("Appointment", ids, parse.appointment)

    def patients_by_id(self, ids: Iterable[str]) -> Found[Patient]:
        return self._by_id("Patient", ids, parse.patient)

    def locations_by_id(self, ids: Iterable[str]) -> Found[Location]:
        return self._by_id("Location", ids, parse.location)

    def search_appointments(
        self,
        *,
        start: datetime,
        end: datetime,
        location_ids: Sequence[str] = (),
        practitioner_id: str | None = None,
        patient_id: str | None = None,
        statuses: Sequence[str] = (),
    ) -> Found[Appointment]:
        """Appointments that start in [start, end), of exactly one of the three; Cerner refuses combinations.

        Cancelled ones are among them unless `statuses` says otherwise. The list may hold more than asked for
        (servers differ on appointments that only end in the range).
        """
        asked = [
            (name, list(ids))
            for name, ids in (
                ("location", location_ids),
                ("practitioner", [practitioner_id] if practitioner_id is not None else []),
                ("patient", [patient_id] if patient_id is not None else []),
            )
            if ids
        ]
        if len(asked) != 1:
            raise ValueError("exactly one of location_ids, practitioner_id and patient_id")
        (name, ids) = asked[0]
        dates = [("date", f"ge{_instant(start)}"), ("date", f"lt{_instant(end)}")]
        more = [("status", ",".join(statuses))] if statuses else []
        return self._search("Appointment", name, ids, [*dates, *more], parse.appointment, SEARCH_S)

    def _read(self, kind: str, identity: str, parsed: Parse[V]) -> V:
        response = self._get(f"{self._base}/{kind}/{_checked(identity)}")
        try:
            value, _ = parsed(response.json(), self._base)
        except Unreadable:
            value = None
        if value is None or value.id != identity:
            raise PermanentError("cerner.unreadable", vendor_reference=response.reference)
        return value

    def _by_id(self, kind: str, ids: Iterable[str], parsed: Parse[T]) -> Found[T]:
        wanted = list(dict.fromkeys(ids))
        found = self._search(kind, "_id", wanted, [], parsed, LOOKUP_S)
        # A server that ignored `_id` would hand us everybody.
        return Found(
            tuple(item for item in found.items if item.id in set(wanted)),
            found.unreadable,
            found.complete,
            found.dropped_fields,
        )

    def _search(
        self, kind: str, name: str, ids: list[str], more: list[tuple[str, str]], parsed: Parse[T], seconds: float
    ) -> Found[T]:
        items: dict[str, T] = {}
        dropped: set[str] = set()
        unreadable, complete = 0, True
        for first in range(0, len(ids), IDS_PER_SEARCH):
            chunk = ",".join(_checked(identity) for identity in ids[first : first + IDS_PER_SEARCH])
            params = [(name, chunk), *more, ("_count", str(PAGE_SIZE))]
            pages = _Pages(self._get, self._base, kind, params, time.monotonic() + seconds)
            for raw in pages:
                try:
                    item, lost = parsed(raw, self._base)
                except Unreadable:
                    unreadable += 1
                    continue
                dropped.update(lost)
                known = items.get(item.id)
                if known is None or _newer(item, known):
                    items[item.id] = item
            complete = complete and pages.complete
        return Found(tuple(items.values()), unreadable, complete and not unreadable, tuple(sorted(dropped)))

    def _get(
        self, url: str, params: list[tuple[str, str]] | None = None, total_s: float | None = None
    ) -> Response:
        token = self._token()
        response = self._send(url, params, token, total_s)
        if response.status == 401:
            renewed = self._token(renew=True)
            if renewed != token:
                response = self._send(url, params, renewed, total_s)
        if response.status != 200:
            raise refused(response)
        return response

    def _send(
        self, url: str, params: list[tuple[str, str]] | None, token: str, total_s: float | None
    ) -> Response:
        return self._http.request(
            "GET",
            url,
            headers={"Accept": "application/fhir+json", "Authorization": f"Bearer {token}"},
            params=params,
            retry=True,
            vendor="cerner",
            allowed_origin=origin(self._base),
            total_s=total_s,
        )


class _Pages:
    """The resources of all pages of a search; afterwards `complete` says whether none was missed."""

    def __init__(
        self, get: Callable[..., Response], base: str, kind: str, params: list[tuple[str, str]], until: float
    ) -> None:
        self.complete = True
        self._until = until
        self._get = get
        self._base = base
        self._kind = kind
        self._params = params

    def __iter__(self) -> Iterator[Any]:
        url: str | None = f"{self._base}/{self._kind}"
        params: list[tuple[str, str]] | None = self._params
        seen: set[str] = set()
        while url is not None:
            left = self._until - time.monotonic()
            late = bool(seen) and left <= 0
            if late or url in seen or len(seen) >= MAX_PAGES or not _inside(url, self._base):
                self.complete = False
                return
            seen.add(url)
            response = self._get(url, params, max(1.0, left))
            try:
                bundle = response.json()
            except PermanentError:
                bundle = None
            if not isinstance(bundle, dict) or bundle.get("resourceType") != "Bundle":
                self.complete = False
                return
            yield from self._resources(bundle)
            url, params = self._next(bundle, url), None

    def _resources(self, bundle: dict[str, Any]) -> Iterable[Any]:
        entries = bundle.get("entry") or []
        if not isinstance(entries, list):
            self.complete = False
            return
        for entry in entries:
            resource = entry.get("resource") if isinstance(entry, dict) else None
            kind = resource.get("resourceType") if isinstance(resource, dict) else None
            if isinstance(resource, dict) and kind == "OperationOutcome":
                self.complete = self.complete and not _reports_error(resource)
            else:
                yield resource

    def _next(self, bundle: dict[str, Any], current: str) -> str | None:
        links = bundle.get("link") or []
        if not isinstance(links, list):
            self.complete = False
            return None
        for link in links:
            if isinstance(link, dict) and link.get("relation") == "next":
                try:
                    return str(urljoin(current, link["url"]))
                except (KeyError, TypeError, ValueError):
                    self.complete = False
        return None


def _reports_error(outcome: dict[str, Any]) -> bool:
    issues = outcome.get("issue")
    severe = {"error", "fatal"}
    return not isinstance(issues, list) or any(
        not isinstance(issue, dict) or issue.get("severity") in severe for issue in issues
    )


def _inside(url: str, base: str) -> bool:
    """Whether `url` lies under the base, also after a server or library has resolved dots and escapes."""
    try:
        same = origin(url) == origin(base)
        path, root = urlsplit(url).path, urlsplit(base).path
    except ValueError:
        return False
    decoded = unquote(unquote(path))
    odd = "\\" in decoded or any(part in (".", "..") for part in decoded.split("/"))
    return same and not odd and (path == root or path.startswith(root + "/"))


def _checked(identity: str) -> str:
    """A FHIR id, safe in a path and in a comma list."""
    if not parse.RESOURCE_ID.fullmatch(identity) or identity in (".", ".."):
        raise PermanentError("cerner.invalid_id")
    return identity


def _instant(moment: datetime) -> str:
    """`2026-03-04T15:00:00Z`; fractions are rounded up, so that neighbouring ranges stay neighbours."""
    exact = moment.astimezone(UTC)
    whole = exact.replace(microsecond=0) + timedelta(seconds=1 if exact.microsecond else 0)
    return whole.strftime("%Y-%m-%dT%H:%M:%SZ")


def _newer(item: T, known: T) -> bool:
    """The same id may come on two pages; Cerner's versions are numbers, or two joined by a hyphen (`2-1`)."""
    if not isinstance(item, Appointment) or not isinstance(known, Appointment):
        return True
    return _version(item) >= _version(known)


def _version(item: Appointment) -> list[int]:
    return [int(digits) for digits in re.findall(r"\d{1,18}", item.version)]


def refused(response: Response) -> ConnectorError:
    """Cerner answers 403 without an OperationOutcome, and only a URN inside a text says why."""
    text = response.body[:4096].decode("utf-8", "replace")
    urn = _URN.search(text)
    code = {401: "token_refused", 403: "forbidden", 404: "not_found", 410: "not_found"}.get(
        response.status, "request_refused"
    )
    if response.status == 403 and _SCOPE_WORDS.search(text):
        code = "insufficient_scope"
    kind = TransientError if response.status == 401 else PermanentError
    return kind(
        f"cerner.{code}",
        vendor_status=response.status,
        vendor_code=urn[0] if urn else None,
        vendor_reference=response.reference,
    )
