"""The words of the checks of what patients are sent, and of the self-test, in English."""

from __future__ import annotations

from connector.checks.finding import NOT_ASKED, Finding, Named

SENDING: dict[str, Named] = {
    "sender.consents": Named("Consents to text patients", {
        "given": Finding("pass", "", "Your organization has agreed to both conditions."),
        "missing": Finding(
            "warn", "you", "Nobody has agreed to the conditions for text messages yet.",
            "Read them under SMS notifications and agree, if you want to text patients.",
        ),
    }),
    "sender.service": Named("Message service", {
        "ready": Finding("pass", "", "This service can send text messages in your region."),
        "missing": Finding(
            "fail", "operator", "This service is not set up to send text messages in your region.",
            "Ask the operator to set up Azure Communication Services for it.",
        ),
    }),
    "sender.state": Named("Sender", {
        "none": Finding("warn", "you", "This connection has no sender, so nobody is texted.", "Link a number or name."),
        "gone": Finding(
            "fail", "you", "The sender of this connection is not there any more.", "Link another number or name.",
        ),
        "name": Finding("pass", "", "Texts come from the name %(value)s."),
        "number": Finding("pass", "", "Texts come from the number %(value)s."),
        "verified": Finding("pass", "", "Texts come from %(value)s, which carriers have verified."),
        "unverified": Finding(
            "fail", "operator",
            "%(value)s is a toll-free number that carriers have not verified: they block every text from it.",
            "Submit its verification in the Azure portal, in the hospital's own name. It takes five to six weeks; "
            "record the dates here as they come.",
        ),
        "submitted": Finding(
            "fail", "operator",
            "Verification of %(value)s was asked for (%(date)s) and is not decided: carriers block every text from it "
            "until then.",
            "Nothing but to wait: it takes five to six weeks. Record the decision here when it comes.",
        ),
        "rejected": Finding(
            "fail", "operator", "Carriers have rejected the verification of %(value)s: they block every text from it.",
            "Read the reasons in the Azure portal, correct the form and submit it again.",
        ),
    }),
    "sender.owned": Named("Number at Azure", {
        "owned": Finding("pass", "", "The number belongs to this service's Azure resource."),
        "strange": Finding(
            "fail", "operator", "The number does not belong to this service's Azure resource, so it cannot send.",
            "Ask the operator to bring it there, or link another.",
        ),
        "unanswered": Finding("warn", "", "Azure did not answer.", "Check again in a few minutes."),
        "not_asked": NOT_ASKED,
    }),
    "email.sender": Named("E-mail", {
        "ready": Finding(
            "pass", "", "E-mail comes from %(address)s, and Azure lets this service send. Whether its domain is "
            "verified shows with the first message.",
        ),
        "managed": Finding(
            "warn", "operator", "E-mail comes from %(address)s, a domain that Azure lends for trying: 10 messages an "
            "hour.", "Link a verified domain of your own.",
        ),
        "refused": Finding(
            "fail", "operator", "Azure does not let this service send e-mail.",
            "Compare its access with the Azure resource.",
        ),
        "unanswered": Finding("warn", "", "Azure did not answer.", "Check again in a few minutes."),
        "unused": Finding("pass", "", "This connection sends no e-mail."),
        "missing": Finding(
            "fail", "operator", "This connection is to send e-mail, but the service has no sender address in your "
            "region.", "Ask the operator to link a verified e-mail domain, or switch e-mail off.",
        ),
    }),
    "live.status": Named("Live lobby status", {
        "ready": Finding("pass", "", "Clinicians see who waits in the lobby, as Teams tells it."),
        "refused": Finding(
            "warn", "operator", "Teams gave no live status for %(refused)s of the last %(count)s visits: there "
            "clinicians see who tapped Join, but not who is in the lobby.",
            "Look into the log for live.unavailable: it holds Microsoft's reason.",
        ),
        "no_certificate": Finding(
            "warn", "operator", "Clinicians see who tapped Join, but not who is in the lobby.",
            "The operator sets a certificate for Teams' notifications.",
        ),
    }),
}  # fmt: skip

SELF_TEST: dict[str, Named] = {
    "test.meeting": Named("A meeting is made", {
        "made": Finding("pass", "", "A meeting was made."),
        "no_organizer": Finding("fail", "you", "There is no organizer account.", "Add one to the connection."),
        "not_allowed": Finding(
            "fail", "microsoft_admin", "Teams does not let the service make meetings for the organizer account.",
            "The checks of the Microsoft side say what is missing.",
        ),
        "refused": Finding(
            "fail", "microsoft_admin", "Microsoft refused to make a meeting.",
            "The checks of the Microsoft side say what is missing.",
        ),
        "unanswered": Finding("fail", "", "Microsoft did not answer.", "Try again in a few minutes."),
    }),
    "test.lobby": Named("Its lobby holds patients", {
        "proven": Finding("pass", "", "Whoever is not a member of the organization waits in its lobby."),
        "not_proven": Finding(
            "fail", "microsoft_admin", "Teams did not confirm that guests wait in the lobby, so no visit would open.",
            "Look for a meeting policy or template in the Teams admin center that sets the lobby.",
        ),
        "not_asked": NOT_ASKED,
    }),
    "test.deleted": Named("It is deleted", {
        "deleted": Finding("pass", "", "The meeting was deleted again."),
        "left": Finding(
            "warn", "", "The meeting could not be deleted. It is empty, and nobody has its address.",
            "Nothing; it expires by itself.",
        ),
        "not_asked": NOT_ASKED,
    }),
    "test.sms": Named("A text to your own number", {
        "sent": Finding("pass", "", "A text was handed to the carrier. Check your phone."),
        "uncertain": Finding(
            "warn", "", "Azure did not say whether the text was taken. It is not sent again.",
            "Check your phone; if nothing arrived, try again.",
        ),
        "skipped": Finding("warn", "you", "No number was typed, so no text was sent.", "Type your own mobile number."),
        "no_consent": Finding(
            "fail", "you", "Nobody has agreed to the conditions for text messages.",
            "Read them under SMS notifications and agree.",
        ),
        "no_sender": Finding("fail", "you", "This connection has no sender.", "Link a number or name."),
        "blocked": Finding(
            "fail", "operator", "The sender is a toll-free number that is not verified: carriers would block the text.",
            "Wait for its verification, and record it here.",
        ),
        "not_a_number": Finding(
            "fail", "you", "This is not a mobile number.", "Type it with its country code, such as +13125550142.",
        ),
        "not_listed": Finding(
            "fail", "you", "A test connection texts only the numbers on its list, and yours is not on it.",
            "Add your number to the list of testers.",
        ),
        "country": Finding(
            "fail", "you", "The sender cannot text the country of this number.",
            "Type another, or link another sender.",
        ),
        "opted_out": Finding(
            "fail", "you", "This number has said STOP to the sender.", "Answer START to it, or type another.",
        ),
        "limit": Finding(
            "fail", "you", "Too many texts were sent to this number, or by you, today.", "Try again tomorrow.",
        ),
        "refused": Finding(
            "fail", "operator", "Azure refused to send the text.",
            "The operator compares the sender with the numbers of the Azure resource.",
        ),
        "unanswered": Finding("fail", "", "Azure did not answer; nothing was sent.", "Try again in a few minutes."),
    }),
}  # fmt: skip
