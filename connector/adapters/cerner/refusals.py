"""What a URN of Cerner's authorization server means to the people who can fix it.

Source: Cerner authorization framework documentation, "Error URNs", and forums.oracle.com threads on them.
"""

from __future__ import annotations

_PREFIX = "urn:cerner:error:authorization-server:"
_AGAIN = "Close this page and open the visit from the chart again."
_OURS = "This is a fault of this service; please tell its operator."
_ENABLE = (
    "Your EHR team must enable this application for your Cerner domain; that takes effect 10 to 15 minutes later."
)
_REDIRECT = "The redirect URI registered with Cerner differs from the one in the integration record of the portal."
_BASE = "The FHIR base URL of this connection is not one that Cerner accepts for the application."
EXPLAINED = {
    "oauth2:grant:invalid-request": _OURS,
    "oauth2:grant:unknown-client": "Cerner does not know the client id of this application. It must be registered.",
    "oauth2:grant:invalid-redirect-uri": _REDIRECT,
    "oauth2:grant:invalid-redirect-uri-trailing-slash": f"{_REDIRECT} Only a slash at the end is different.",
    "oauth2:grant:unknown-tenant": _BASE,
    "oauth2:grant:unauthorized-client-for-tenant": _ENABLE,
    "oauth2:grant:denied-by-server": "Cerner's own rules forbid this user the application. Ask your EHR team.",
    "oauth2:grant:denied-by-user": f"The sign-in was declined. {_AGAIN}",
    "oauth2:token:empty-scopes": f"Cerner granted no permission at all. {_ENABLE}",
    "oauth2:token:invalid-authorization-header": "Cerner does not accept the application's credential. It must be "
    "entered again for this connection.",
    "oauth2:token:code:invalid": f"The sign-in took too long or was used before. {_AGAIN}",
    "oauth2:token:code-invalid-or-expired": f"The sign-in took too long or was used before. {_AGAIN}",
    "oauth2:token:code:client:mismatch": "Two applications of Cerner's were mixed up: the client id of this "
    "connection does not belong to the one that was launched.",
    "oauth2:token:refresh-token:token-invalid": f"Your EHR session has ended. {_AGAIN}",
    "oauth2:token:refresh-token:session-invalid": f"Your EHR session has ended. {_AGAIN}",
    "smart-v1:grant:launch:audience-required": _OURS,
    "smart-v1:grant:launch:code-required": "The chart sent no launch code. The record in the EHR must name the "
    "provider launch address of the portal.",
    "smart-v1:grant:launch:launch-code-required": "The chart sent no launch code. The record in the EHR must name the "
    "provider launch address of the portal.",
    "smart-v1:grant:launch:invalid-code": f"The chart's launch code was used before or is too old. {_AGAIN}",
    "smart-v1:grant:launch:invalid-launch-code": f"The chart's launch code was used before or is too old. {_AGAIN}",
    "smart-v1:grant:launch:mismatched-identity": "Another EHR user is signed in in this browser. Close all its "
    "windows, then open the visit from the chart again.",
    "smart-v1:grant:launch:audience-not-white-listed": _BASE,
    "smart-v1:grant:launch:unknown-resource-server": _BASE,
    "smart-v1:grant:launch:unsupported-version": "The application is registered with Cerner for another version of "
    "SMART than this connection uses.",
}


def explained(urn: str | None, otherwise: str) -> str:
    """Who must do what about a refusal with this URN."""
    return EXPLAINED.get((urn or "").removeprefix(_PREFIX), otherwise)
