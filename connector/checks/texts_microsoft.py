"""The words of the checks of the Microsoft side, in English."""

from __future__ import annotations

from connector.checks.finding import NOT_ASKED, Finding, Named

_UNKNOWN = {
    "unanswered": Finding("warn", "", "Microsoft did not answer.", "Check again in a few minutes."),
    "not_permitted": Finding(
        "warn", "microsoft_admin", "This service may not look: its consent lacks %(role)s.",
        "Ask a Global Administrator to give consent again; nothing else depends on it.",
    ),
    "not_asked": NOT_ASKED,
}  # fmt: skip

MICROSOFT: dict[str, Named] = {
    "microsoft.consent": Named("Consent", {
        "given": Finding("pass", "", "Your organization has consented to this service."),
        "not_given": Finding(
            "fail", "microsoft_admin", "Your organization has not consented to this service, or has withdrawn it.",
            "A Global Administrator gives consent in this portal.",
        ),
        "own_credential": Finding(
            "fail", "operator", "Microsoft does not accept the service's own credential (%(code)s).",
            "Tell the operator: the application's secret has expired or its federated credential is not set up.",
        ),
        **_UNKNOWN,
    }),
    "microsoft.roles": Named("Permissions", {
        "granted": Finding("pass", "", "All permissions that the service uses were granted."),
        "missing": Finding(
            "fail", "microsoft_admin", "Without these permissions no meeting can be made: %(missing)s.",
            "A Global Administrator gives consent again in this portal.",
        ),
        "partial": Finding(
            "warn", "microsoft_admin",
            "Meetings work. Missing are: %(missing)s. Parts of the service that use them stay empty.",
            "A Global Administrator gives consent again in this portal.",
        ),
        "not_asked": NOT_ASKED,
    }),
    "microsoft.licence": Named("Teams licence", {
        "licensed": Finding("pass", "", "Your organization has a subscription with Microsoft Teams."),
        "none": Finding(
            "fail", "microsoft_admin", "Your organization has no subscription in force that includes Microsoft Teams.",
            "Buy or renew one that does.",
        ),
        **_UNKNOWN,
    }),
    "microsoft.organizers": Named("Organizer accounts", {
        "ready": Finding("pass", "", "All %(count)s organizer accounts exist, may sign in and have Teams."),
        "none": Finding(
            "fail", "you", "This connection has no organizer account, so no meeting can be made.",
            "Name at least one account that is used for nothing else, under Meetings.",
        ),
        "missing": Finding(
            "fail", "you", "These accounts do not exist in your organization: %(accounts)s.",
            "Compare the object ids with those in the Microsoft Entra admin center.",
        ),
        "disabled": Finding(
            "fail", "microsoft_admin", "These accounts are blocked from signing in: %(accounts)s.",
            "Unblock them, or replace them by others.",
        ),
        "unlicensed": Finding(
            "fail", "microsoft_admin", "These accounts have no Teams licence: %(accounts)s.", "Assign them one.",
        ),
        **_UNKNOWN,
    }),
    "microsoft.access_policy": Named("Application access policy", {
        "granted": Finding("pass", "", "The service may make meetings for all %(count)s organizer accounts."),
        "missing": Finding(
            "fail", "microsoft_admin", "No application access policy lets the service act for: %(accounts)s.",
            "A Teams administrator pastes the commands into PowerShell with the MicrosoftTeams module, after "
            "Connect-MicrosoftTeams. It takes up to 30 minutes to arrive. If the policy exists already, leave out the "
            "first command.",
        ),
        **_UNKNOWN,
    }),
    "microsoft.load": Named("Meetings this month", {
        "within": Finding("pass", "", "The busiest organizer account has %(count)s of 2,000 meetings this month."),
        "high": Finding(
            "warn", "you", "An organizer account has %(count)s of the 2,000 meetings that Microsoft allows in a month.",
            "Add organizer accounts; meetings are spread over all of them.",
        ),
        "full": Finding(
            "fail", "you", "An organizer account has used up its 2,000 meetings of this month (%(count)s).",
            "Add organizer accounts now; meetings are spread over all of them.",
        ),
        "not_asked": NOT_ASKED,
    }),
}  # fmt: skip
