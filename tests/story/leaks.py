"""What a told story left behind, and a search for people in it that also looks inside encodings."""

import base64
import re
import zlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import unquote_to_bytes

from azure.core.exceptions import ResourceNotFoundError
from azure.data.tables import TableServiceClient
from azure.storage.queue import QueueServiceClient

from sandbox.azurite import HOST_ACCOUNT, REGION_ACCOUNTS
from sandbox.supervisor import Sandbox
from sandbox.world import Hospital, World

ACCOUNTS = (*REGION_ACCOUNTS, HOST_ACCOUNT)
_DEPTH = 4
_LARGEST = 1_000_000
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{8,}")
_STANDARD = bytes.maketrans(b"-_", b"+/")
_PACKED = re.compile(rb"\x1f\x8b\x08|\x78[\x01\x5e\x9c\xda]")
_WORD = rb"[a-z0-9+/_=-]"
_SHORT = 7
"""A shorter name would come about by chance in base64; it counts only as a word."""


@dataclass(frozen=True)
class Row:
    account: str
    table: str
    key: str
    columns: dict[str, Any]


def scanning(sandbox: Sandbox) -> bool:
    """Whether a worker has the lease to scan a connection, or had it when it was killed."""
    for account in REGION_ACCOUNTS:
        with TableServiceClient.from_connection_string(sandbox.azurite.connection_string(account)) as service:
            try:
                leases = list(service.get_table_client("Visits").query_entities("RowKey eq 'lease.discover'"))
            except ResourceNotFoundError:
                continue
            if any(row["until"] and datetime.fromisoformat(row["until"]) > datetime.now(UTC) for row in leases):
                return True
    return False


def rows(sandbox: Sandbox) -> list[Row]:
    """Every row of every table of every account."""
    found = []
    for account in ACCOUNTS:
        with TableServiceClient.from_connection_string(sandbox.azurite.connection_string(account)) as service:
            for table in service.list_tables():
                for entity in service.get_table_client(table.name).list_entities():
                    found.append(Row(account, table.name, str(entity["RowKey"]), dict(entity)))
    return found


def queued(sandbox: Sandbox) -> list[str]:
    """Every queue by name, and every message that waits in one."""
    found = []
    for account in ACCOUNTS:
        with QueueServiceClient.from_connection_string(sandbox.azurite.connection_string(account)) as service:
            for queue in service.list_queues():
                waiting = service.get_queue_client(queue.name).peek_messages(32)
                found += [queue.name, *(str(message.content) for message in waiting)]
    return found


def on_disk(sandbox: Sandbox) -> dict[str, bytes]:
    """Azurite's files, by the first part of their path; it writes its tables when it ends, so it is restarted."""
    files: dict[str, bytes] = defaultdict(bytes)
    sandbox.azurite.stop()
    for path in sandbox.azurite.folder.rglob("*"):
        if path.is_file():
            files[path.relative_to(sandbox.azurite.folder).parts[0]] += b"\n" + path.read_bytes()
    sandbox.azurite.start()
    return files


def as_bytes(row: Row) -> bytes:
    values = [value if isinstance(value, bytes) else str(value).encode() for value in row.columns.values()]
    return b"\n".join([row.key.encode(), *values])


class Names:
    """The values that must not be found: of the patients, and of the staff."""

    def __init__(self, world: World) -> None:
        self.staff_ids: dict[str, re.Pattern[bytes]] = {}
        """The EHR's own ids of clinicians, which table Links may hold."""
        self.all: dict[str, re.Pattern[bytes]] = {}
        for hospital in world.hospitals.values():
            self._add(hospital)
            for (kind, key), resource in world.resources[hospital.ehr_tenant].items():
                if kind in ("Appointment", "Encounter"):
                    self.all[f"{kind} {resource['id']}"] = re.compile(re.escape(key.encode()))

    def _add(self, hospital: Hospital) -> None:
        for patient in hospital.patients:
            born = date.fromisoformat(patient.birth_date)
            values = {
                "family": [patient.family],
                "given": [patient.given],
                "e-mail": [patient.email],
                "birth date": [
                    *(born.strftime(form) for form in ("%Y-%m-%d", "%Y%m%d", "%m/%d/%Y", "%d-%m-%Y", "%d.%m.%Y")),
                    f"{born.month}/{born.day}/{born.year}",
                ],
                "MRN": [patient.mrn],
                "id": [patient.patient_id],
            }
            for what, texts in values.items():
                self.all[f"{patient.key} {what}"] = _any_of(texts)
            for kind, number in (
                ("mobile", patient.mobile), ("home phone", patient.home_phone), ("old phone", patient.expired_phone)
            ):
                self.all[f"{patient.key} {kind}"] = _digits(number)
        for clinician in hospital.clinicians:
            names = [clinician.family, clinician.given, clinician.username, clinician.upn]
            self.all[f"{clinician.key} name"] = _any_of(names)
            self.staff_ids[f"{clinician.key} id"] = _any_of([clinician.practitioner_id])

    def found_in(self, data: bytes, *, staff_ids: bool = True) -> set[str]:
        """Labels of the values that are in `data`, in whatever encoding."""
        wanted = self.all | (self.staff_ids if staff_ids else {})
        unfolded = unfold(data).lower()
        return {label for label, pattern in wanted.items() if pattern.search(unfolded)}


def _any_of(texts: list[str]) -> re.Pattern[bytes]:
    """Any of the texts in UTF-8, in Latin-1 (which UTF-16 without its zeros is) and as JSON escapes."""
    spelled = set[bytes]()
    for text in texts:
        forms = {text.encode(), text.encode("latin-1"), text.encode("ascii", "backslashreplace")}
        forms |= {re.sub(rb"\\x(..)", rb"\\u00\1", form) for form in forms}
        edges = (rb"(?<!" + _WORD + rb")", rb"(?!" + _WORD + rb")") if len(text) < _SHORT else (b"", b"")
        spelled |= {edges[0] + re.escape(form.lower()) + edges[1] for form in forms}
    return re.compile(b"|".join(sorted(spelled)))


def _digits(number: str) -> re.Pattern[bytes]:
    """The national number, however it is grouped; E.164 and the international forms end with it."""
    national = number.removeprefix("+1") if number.startswith("+1") else number.removeprefix("+45")
    return re.compile(rb"[\s().-]{0,2}".join(digit.encode() for digit in national))


def unfold(data: bytes) -> bytes:
    """`data` and everything that comes out when its encodings are undone, again and again."""
    seen, fresh = {data}, [data]
    for _ in range(_DEPTH):
        fresh = [piece for piece in {piece for whole in fresh for piece in _undone(whole)} if piece not in seen]
        seen.update(fresh)
    return b"\n".join(seen)


def _undone(data: bytes) -> Iterator[bytes]:
    if b"\0" in data:
        yield data.replace(b"\0", b"")  # UTF-16 of either order, as far as Latin-1 goes
    if b"%" in data:
        yield unquote_to_bytes(data)
    for run in set(_BASE64.findall(data)):
        for skipped in range(4):  # what stands before may belong to the same alphabet
            text = run[skipped:].translate(_STANDARD)
            text = text[: len(text) - (len(text) % 4 == 1)]
            yield base64.b64decode(text + b"=" * (-len(text) % 4))
    for start in _PACKED.finditer(data):
        try:  # gzip or zlib, told by the first bytes
            yield zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(data[start.start() :], _LARGEST)
        except zlib.error:
            continue
