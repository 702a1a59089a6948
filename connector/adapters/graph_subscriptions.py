"""Subscriptions to the call events of online meetings, in customers' tenants.

Source: Microsoft Graph, "Get change notifications for Microsoft Teams meeting call updates" (beta; the version is a
setting), "Create subscription", "Update subscription", "Reduce missing subscriptions and change notifications". Teams
resources share 10,000 subscriptions a tenant; one app has at most one for each meeting.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from connector.adapters.graph_http import GraphHttp, json_object, unreadable
from connector.adapters.graph_notifications import Certificate
from connector.adapters.http import Response
from connector.errors import PermanentError

LONGEST = timedelta(hours=70)
"""Graph's limit is given as 4,230 and as 4,320 minutes."""
_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
_PAGES = 20


@dataclass(frozen=True)
class Subscription:
    id: str
    expires: datetime


class GraphSubscriptions:
    """`public_url` is where Graph reaches our webhooks."""

    def __init__(self, http: GraphHttp, *, version: str, public_url: str) -> None:
        self._http = http
        self._version = version
        self._notification_url = f"{public_url}/webhooks/graph"

    def create(
        self, tenant_id: str, join_web_url: str, certificate: Certificate, *, client_state: str, until: datetime
    ) -> Subscription:
        """One that lasts until `until`, or as long as Graph allows. Graph calls our webhooks before it answers.

        Raises PermanentError: `graph.subscription_exists` (409), `graph.subscription_quota` (403, shared by all apps
        of the tenant), and what GraphHttp raises. After a TransientError there may be one all the same.
        """
        body = {
            "changeType": "updated",
            "resource": _resource(join_web_url),
            "notificationUrl": self._notification_url,
            "lifecycleNotificationUrl": f"{self._notification_url}/lifecycle",
            "includeResourceData": True,
            "encryptionCertificate": certificate.der_base64,
            "encryptionCertificateId": certificate.id,
            "expirationDateTime": _expiry(until),
            "clientState": client_state,
        }
        try:
            response = self._http.call(
                "POST", tenant_id, "/subscriptions", body=body, version=self._version, repeatable=False
            )
        except PermanentError as error:
            if error.vendor_status == 409:
                raise PermanentError("graph.subscription_exists", vendor_status=409) from None
            if error.vendor_status == 403 and error.code == "graph.no_application_access":
                raise PermanentError(
                    "graph.subscription_quota", vendor_status=403, vendor_code=error.vendor_code
                ) from None
            raise
        return _subscription(response)

    def renew(self, tenant_id: str, subscription_id: str, until: datetime) -> Subscription:
        """Also answers `reauthorizationRequired`. Raises PermanentError `graph.not_found` when it is gone."""
        body = {"expirationDateTime": _expiry(until)}
        path = f"/subscriptions/{quote(subscription_id, safe='')}"
        return _subscription(self._http.call("PATCH", tenant_id, path, body=body, version=self._version))

    def delete(self, tenant_id: str, subscription_id: str) -> None:
        """One that is gone already is as good."""
        try:
            self._http.call(
                "DELETE", tenant_id, f"/subscriptions/{quote(subscription_id, safe='')}", version=self._version
            )
        except PermanentError as error:
            if error.code != "graph.not_found":
                raise

    def find(self, tenant_id: str, join_web_url: str) -> str | None:
        """Id of the subscription to a meeting that we made and whose id was lost."""
        path: str | None = "/subscriptions"
        for _ in range(_PAGES):
            if path is None:
                break
            page = json_object(self._http.call("GET", tenant_id, path, version=self._version))
            for found in page.get("value") or ():
                if isinstance(found, dict) and found.get("resource") == _resource(join_web_url):
                    return str(found.get("id"))
            _, _, query = str(page.get("@odata.nextLink") or "").partition("/subscriptions?")
            path = f"/subscriptions?{query}" if query else None
        return None


def _resource(join_web_url: str) -> str:
    return f"communications/onlineMeetings(joinWebUrl='{quote(join_web_url, safe='')}')/meetingCallEvents"


def _expiry(until: datetime) -> str:
    """Real time: what Graph counts in."""
    now = datetime.now(UTC)
    return min(max(until, now + timedelta(minutes=30)), now + LONGEST).strftime("%Y-%m-%dT%H:%M:%SZ")


def _subscription(response: Response) -> Subscription:
    answer: dict[str, Any] = json_object(response)
    try:
        expires = datetime.fromisoformat(str(answer["expirationDateTime"])).astimezone(UTC)
    except (KeyError, ValueError):
        raise unreadable(response) from None
    if not _ID.fullmatch(str(answer.get("id"))):
        raise unreadable(response)
    return Subscription(str(answer["id"]), expires)
