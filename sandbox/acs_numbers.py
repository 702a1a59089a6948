"""Simulated telephone numbers of Azure Communication Services, on the resource that also sends the SMS of a region.

Source: REST API "Phone Numbers" 2025-06-01 with its published examples. A purchase takes `World.provisioning_s` of the
sandbox's time. `World.mischief`: `numbers_out_of_stock`, `numbers_taken` (nothing can be held), `numbers_quota`,
`numbers_refused`, `numbers_purchase_fails`. Which codes a refused purchase bears is documented nowhere:
`QuotaExceeded` and `PurchaseFailed` are ours. A toll-free number that was bought is not verified, so carriers block
what it sends.
"""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Any

import flask
from flask import request
from flask.typing import ResponseReturnValue

from sandbox.acs_signature import AcsError, check_signature, check_version
from sandbox.world import Json, World

VERSIONS = ("2025-04-01", "2025-06-01")
HOLD = timedelta(minutes=15)
CALLING_CODES = {"US": "1", "CA": "1", "DK": "45", "GB": "44", "AU": "61"}
STOCK = {
    ("1", "tollFree"): ["18332040117", "18332040128", "18332040139", "18332040151"],
    ("1", "geographic"): ["14252040117", "14252040128"],
    ("45", "mobile"): ["4552301174"],
}
"""By calling code and type; valid in their country's plan."""


class NumbersResource:
    """The numbers of one Communication resource; use under the world's lock."""

    def __init__(self, world: World, region: str) -> None:
        self.world, self.region = world, region

    @property
    def owned(self) -> dict[str, Json]:
        """What was bought here; the hospitals' own numbers were there from the beginning."""
        known = self.world.owned_numbers.setdefault(self.region, {})
        for hospital in self.world.hospitals.values():
            if hospital.region == self.region and hospital.sender_kind == "phone_number" and hospital.sender_value:
                number = hospital.sender_value.removeprefix("+")
                known.setdefault(number, self._entry(number, "US", "tollFree", "purchased"))
        return known

    def browse(self, country: str, body: Any) -> list[Json]:
        kind = body.get("phoneNumberType") if isinstance(body, dict) else None
        if kind not in ("tollFree", "geographic", "mobile"):
            raise AcsError(400, "BadRequest", "phoneNumberType is required.")
        prefixes = body.get("phoneNumberPrefixes") or [""]
        stock = STOCK.get((CALLING_CODES.get(country, "?"), kind), [])
        free = [n for n in stock if self._free(n, "") and n.startswith(tuple(prefixes))]
        if "numbers_out_of_stock" in self.world.mischief:
            return []
        return [self._entry(number, country, kind, "available") for number in free]

    def reserve(self, reservation_id: str, body: Any) -> tuple[Json, int]:
        """Idempotent: what it holds already is left, null removes, and what cannot be had is an error entry (207)."""
        found = self.world.reservations.get(reservation_id)
        made = found is None
        if found is None:
            found = {"id": reservation_id, "region": self.region, "status": "active", "phoneNumbers": {}}
        if self._now(found)["status"] != "active":
            raise AcsError(409, "Conflict", "Only active reservations can be updated.")
        failed = False
        for number, wanted in (body.get("phoneNumbers") or {}).items():
            if wanted is None:
                found["phoneNumbers"].pop(number, None)
                continue
            if number not in found["phoneNumbers"] or found["phoneNumbers"][number]["status"] != "reserved":
                entry = self._entry(number, wanted["countryCode"], wanted["phoneNumberType"], "reserved")
                if not self._free(number, reservation_id) or "numbers_taken" in self.world.mischief:
                    failed = True
                    message = "Failed to add the number to the reservation."
                    entry |= {"status": "error", "error": {"code": "FailedToReserveNumber", "message": message}}
                found["phoneNumbers"][number] = entry
        found["expires"] = self.world.now() + HOLD
        self.world.reservations[reservation_id] = found
        return self._shown(found), 207 if failed else 201 if made else 200

    def get(self, reservation_id: str) -> Json:
        return self._shown(self._now(self._known(reservation_id)))

    def cancel(self, reservation_id: str) -> None:
        if self._now(self._known(reservation_id))["status"] != "active":
            raise AcsError(409, "Conflict", "Only active reservations can be deleted.")
        del self.world.reservations[reservation_id]

    def purchase(self, reservation_id: str) -> str:
        found = self._now(self._known(reservation_id))
        if found["status"] != "active" or not any(
            entry["status"] == "reserved" for entry in found["phoneNumbers"].values()
        ):
            raise AcsError(409, "Conflict", "Purchase can only be started for active reservations.")
        if "numbers_quota" in self.world.mischief:
            raise AcsError(403, "QuotaExceeded", "The quota of phone numbers of this subscription is used up.")
        if "numbers_refused" in self.world.mischief:
            raise AcsError(400, "BadRequest", "The subscription is not eligible to purchase phone numbers.")
        found |= {"status": "submitted", "submitted": self.world.now()}
        return f"reservationPurchase_{reservation_id}"

    def release(self, number: str) -> str:
        if number.removeprefix("+") not in self.owned:
            raise AcsError(404, "NotFound", "The phone number was not found.")
        del self.owned[number.removeprefix("+")]
        return f"release_{uuid.uuid4()}"

    def one(self, number: str) -> Json:
        for reservation in list(self.world.reservations.values()):
            self._now(reservation)
        if number.removeprefix("+") not in self.owned:
            raise AcsError(404, "NotFound", "The phone number was not found.")
        return self.owned[number.removeprefix("+")]

    def _now(self, found: Json) -> Json:
        """Carry out what time has brought."""
        now = self.world.now()
        if found["status"] == "active" and found.get("expires", now) < now:
            found["status"] = "expired"
            for entry in found["phoneNumbers"].values():
                entry["status"] = "expired"
        provisioning = timedelta(seconds=self.world.provisioning_s)
        if found["status"] == "submitted" and found["submitted"] + provisioning <= now:
            found["status"] = "completed"
            for number, entry in found["phoneNumbers"].items():
                if entry["status"] == "reserved":
                    self._buy(number, entry, now)
        return found

    def _buy(self, number: str, entry: Json, now: datetime) -> None:
        if "numbers_purchase_fails" in self.world.mischief:
            entry |= {"status": "error", "error": {"code": "PurchaseFailed", "message": "The purchase failed."}}
            return
        entry["status"] = "purchased"
        kept = ("id", "phoneNumber", "countryCode", "phoneNumberType", "assignmentType", "capabilities", "cost")
        self.owned[number] = {name: entry[name] for name in kept} | {"purchaseDate": now.isoformat()}
        self.world.purchases.append(number)
        if entry["phoneNumberType"] == "tollFree":
            self.world.unverified_senders.add(f"+{number}")

    def _free(self, number: str, reservation_id: str) -> bool:
        holders = (r for r in self.world.reservations.values() if r["id"] != reservation_id)
        held = any(self._now(r)["status"] in ("active", "submitted") and number in r["phoneNumbers"] and
                   r["phoneNumbers"][number]["status"] == "reserved" for r in holders)  # fmt: skip
        return not held and not any(number in owned for owned in self.world.owned_numbers.values())

    def _known(self, reservation_id: str) -> Json:
        found = self.world.reservations.get(reservation_id)
        if found is None or found["region"] != self.region:
            raise AcsError(404, "NotFound", "The reservation was not found.")
        return found

    def _shown(self, found: Json) -> Json:
        stamp = found["expires"].strftime("%Y-%m-%dT%H:%M:%S.000Z")
        return {name: found[name] for name in ("id", "status", "phoneNumbers")} | {"expiresAt": stamp}

    @staticmethod
    def _entry(number: str, country: str, kind: str, status: str) -> Json:
        return {
            "id": number, "phoneNumber": f"+{number}", "countryCode": country, "phoneNumberType": kind,
            "assignmentType": "application", "capabilities": {"calling": "none", "sms": "inbound+outbound"},
            "cost": {"amount": 2.0, "currencyCode": "USD", "billingFrequency": "monthly"}, "status": status,
            "isAgreementToNotResellRequired": False,
        }  # fmt: skip


def add_routes(app: flask.Flask, world: World, region: str, key: str) -> None:
    """The telephone number operations of the resource that `app` is."""
    resource = NumbersResource(world, region)
    root = "/availablePhoneNumbers"

    def checked() -> None:
        check_version(VERSIONS)
        check_signature(key)

    @app.post(f"{root}/countries/<country>/:browse")
    def browse_numbers(country: str) -> ResponseReturnValue:
        checked()
        with world.changing():
            return {"phoneNumbers": resource.browse(country, request.get_json(silent=True))}

    @app.route(f"{root}/reservations/<uuid:reservation>", methods=["GET", "PATCH", "DELETE"])
    def number_reservation(reservation: uuid.UUID) -> ResponseReturnValue:
        checked()
        with world.changing():
            if request.method == "PATCH":
                return resource.reserve(str(reservation), request.get_json(force=True))
            if request.method == "DELETE":
                resource.cancel(str(reservation))
                return "", 204
            return resource.get(str(reservation))

    @app.post(f"{root}/reservations/<uuid:reservation>/:purchase")
    def purchase_numbers(reservation: uuid.UUID) -> ResponseReturnValue:
        checked()
        with world.changing():
            return _accepted(resource.purchase(str(reservation)))

    @app.get("/phoneNumbers")
    def owned_numbers() -> ResponseReturnValue:
        checked()
        with world.changing():
            return {"phoneNumbers": list(resource.owned.values())}

    @app.route("/phoneNumbers/<number>", methods=["GET", "DELETE"])
    def owned_number(number: str) -> ResponseReturnValue:
        checked()
        with world.changing():
            return _accepted(resource.release(number)) if request.method == "DELETE" else resource.one(number)


def _accepted(operation: str) -> ResponseReturnValue:
    version = request.args["api-version"]
    location = f"{request.host_url}phoneNumbers/operations/{operation}?api-version={version}"
    return "", 202, {"Operation-Location": location, "operation-id": operation}
