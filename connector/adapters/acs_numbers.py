"""Telephone numbers of one region's Azure Communication Services resource: find, hold, buy, give back.

Bought through a reservation, whose id is ours: making it is idempotent, and "purchase can only be started for active
reservations", so one reservation is bought once however often it is asked for. Source: azure-communication-phonenumbers
1.4.0; REST API 2025-06-01, "Browse Available Numbers", "Create Or Update Reservation", "Purchase Reservation", "Get By
Number", "Release Phone Number".
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from connector.adapters import acs
from connector.adapters.http import Response
from connector.errors import AmbiguousError, ConnectorError, PermanentError, TransientError

Kind = Literal["toll_free", "geographic", "mobile"]
_KINDS = {"toll_free": "tollFree", "geographic": "geographic", "mobile": "mobile"}
_CODE = re.compile(r"[A-Za-z0-9_.]{1,64}")
_NUMBER = re.compile(r"\+[1-9][0-9]{6,14}")
_BOTH_WAYS = "inbound+outbound"
T = TypeVar("T")


@dataclass(frozen=True)
class Offer:
    """A number that can be had at the moment."""

    number: str
    """E.164."""
    country: str
    kind: Kind
    capabilities: tuple[str, str]
    """Calling and SMS, as offered: a reservation must name them."""
    cost: str
    """A month, such as `2.00 USD`."""
    resale_agreement: bool
    """It can be had only by whoever promises not to resell it."""


@dataclass(frozen=True)
class Reservation:
    """A hold of about 15 minutes on numbers, and what became of it."""

    status: Literal["active", "submitted", "completed", "expired"]
    numbers: dict[str, str]
    """E.164 to `available`, `reserved`, `expired`, `error` or `purchased`."""
    error_code: str | None = None
    """Of the first number in `error`."""


class AcsNumbers:
    """Safe to share between threads; the SDK is loaded at first use.

    TransientError: `numbers.unreachable`, `numbers.throttled`, `numbers.unavailable`. AmbiguousError
    `numbers.unknown_outcome`: it may have taken effect. PermanentError: `numbers.not_allowed` (401, 403),
    `numbers.not_found`, `numbers.refused` (other 4xx, with ACS's error code), `numbers.unreadable_answer`.
    """

    def __init__(self, endpoint: str, key: str | None, identity_client_id: str | None) -> None:
        self._resource = acs.Resource("numbers", endpoint, key, identity_client_id)
        self._lock = threading.Lock()
        self._client: Any = None

    def browse(self, country: str, kind: Kind, prefix: str = "") -> list[Offer]:
        """Some numbers that can send and receive SMS, in random order; none when there is no stock."""
        answer = self._ask(
            lambda client: client.browse_available_phone_numbers(
                country_code=country,
                phone_number_type=_KINDS[kind],
                sms_capability=_BOTH_WAYS,
                assignment_type="application",
                phone_number_prefixes=[prefix] if prefix else None,
            )
        )
        offers = (_offer(found, country, kind) for found in answer.phone_numbers or ())
        return [offer for offer in offers if offer is not None]

    def reserve(self, reservation_id: str, offer: Offer) -> Reservation:
        """Hold a number under an id of our own, a UUID; repeating it changes nothing."""
        from azure.communication.phonenumbers import AvailablePhoneNumber, PhoneNumberCapabilities

        calling, sms = offer.capabilities
        wanted = AvailablePhoneNumber(
            country_code=offer.country,
            capabilities=PhoneNumberCapabilities(calling=calling, sms=sms),
            phone_number_type=_KINDS[offer.kind],
            assignment_type="application",
        )
        wanted.id = offer.number.removeprefix("+")
        return _reservation(
            self._ask(
                lambda client: client.create_or_update_reservation(
                    reservation_id=reservation_id, numbers_to_add=[wanted]
                ),
                changes=True,
            )
        )

    def reservation(self, reservation_id: str) -> Reservation | None:
        """As it is now; None when ACS knows of none."""
        return self._or_none(lambda client: _reservation(client.get_reservation(reservation_id)))

    def cancel(self, reservation_id: str) -> None:
        """Let go of what an active reservation holds."""
        self._or_none(lambda client: client.delete_reservation(reservation_id), changes=True)

    def purchase(self, reservation_id: str) -> None:
        """Begin to buy what an active reservation holds; `reservation` tells how it goes."""
        self._ask(
            lambda client: client.begin_purchase_reservation(reservation_id, agree_to_not_resell=False, polling=False),
            changes=True,
        )

    def owns(self, number: str) -> bool:
        """Whether the resource has this number now."""
        found = self._or_none(lambda client: client.get_purchased_phone_number(number).phone_number)
        return found == number

    def release(self, number: str) -> None:
        """Begin to give a number back, for good; `owns` tells when it is gone. Nothing when it is not there."""
        self._or_none(lambda client: client.begin_release_phone_number(number, polling=False), changes=True)

    def _or_none(self, question: Callable[[Any], T], *, changes: bool = False) -> T | None:
        try:
            return self._ask(question, changes=changes)
        except PermanentError as error:
            if error.code == "numbers.not_found":
                return None
            raise

    def _ask(self, question: Callable[[Any], T], *, changes: bool = False) -> T:
        """The SDK's answer; its exceptions, whose texts hold addresses and bodies, stay behind."""
        from azure.core.exceptions import DeserializationError, HttpResponseError

        client = self._ready()
        failure: ConnectorError
        try:
            return question(client)
        except DeserializationError:
            failure = PermanentError("numbers.unreadable_answer")
        except HttpResponseError as error:
            failure = _refusal(error, changes=changes)
        except ConnectorError as error:
            failure = error
        except Exception as error:  # the verdict rests on what was seen on the wire
            unsent = acs.never_connected(error)
            failure = acs.no_answer("numbers", unsent=unsent or not changes)
        raise failure

    def _ready(self) -> Any:
        with self._lock:
            if self._client is None:
                from azure.communication.phonenumbers import PhoneNumbersClient

                options = self._resource.options()
                self._client = PhoneNumbersClient(self._resource.endpoint, options.pop("credential"), **options)
        self._resource.check_identity()
        return self._client


def _refusal(error: Any, *, changes: bool) -> ConnectorError:
    raw = error.response
    response = Response(error.status_code or 0, raw.headers if raw is not None else {}, b"", "numbers")
    status, reference = response.status, response.reference
    code = getattr(error.error, "code", None)
    code = code if isinstance(code, str) and _CODE.fullmatch(code) else None
    if status == 429:
        return TransientError(
            "numbers.throttled", retry_after_s=response.retry_after_s, vendor_status=429, vendor_reference=reference
        )
    if status in (404, 401, 403) or (400 <= status < 500 and status != 408):
        ours = {404: "not_found", 401: "not_allowed", 403: "not_allowed"}.get(status, "refused")
        return PermanentError(
            f"numbers.{ours}", vendor_status=status, vendor_code=code, vendor_reference=reference
        )
    if changes:
        return AmbiguousError("numbers.unknown_outcome", vendor_status=status, vendor_reference=reference)
    return TransientError("numbers.unavailable", vendor_status=status, vendor_reference=reference)


def _offer(found: Any, country: str, kind: Kind) -> Offer | None:
    number, held = found.phone_number, found.capabilities
    if not isinstance(number, str) or not _NUMBER.fullmatch(number) or held is None or str(held.sms) != _BOTH_WAYS:
        return None
    cost = found.cost
    price = f"{float(cost.amount):.2f} {cost.currency_code}" if cost is not None else ""
    agreement = found.is_agreement_to_not_resell_required is True
    return Offer(number, country, kind, (str(held.calling), str(held.sms)), price[:20], agreement)


def _reservation(found: Any) -> Reservation:
    if found.status not in ("active", "submitted", "completed", "expired"):
        raise PermanentError("numbers.unreadable_answer")
    held = [entry for entry in (found.phone_numbers or {}).values() if entry is not None]
    codes = [entry.error.code for entry in held if entry.error is not None]
    code = next((code for code in codes if isinstance(code, str) and _CODE.fullmatch(code)), None)
    return Reservation(found.status, {str(entry.phone_number): str(entry.status) for entry in held}, code)
