"""Why a message was not sent, or is not sent now, in words, and who can change that (rules: docs/architecture.md).

A rule is a code in storage, in the API and in the log; only pages have words for it.
"""

from __future__ import annotations

from connector.languages import N_

Words = tuple[str, str, str]
"""What happened; who can change it (of `fixer` in parts.html, "" for nobody); how."""

RULES: dict[str, Words] = {
    "due": (N_("Will be sent, if Cerner still says the same then"), "", ""),
    # told silently, or overtaken
    "baseline": (N_("Booked before messages were switched on, so it is not announced now"), "", ""),
    "rebooked": (N_("Cancelled and booked again at once: one message said both"), "", ""),
    "undone": (N_("Changed back before anything was sent"), "", ""),
    "superseded": (N_("The appointment changed again, and a newer message took its place"), "", ""),
    "disabled_kind": (N_("This kind of message is switched off"), "you", N_("It can be switched on in the settings.")),
    "daily_cap": (
        N_("The patient has as many reminders on that day as the settings allow"), "you",
        N_("The settings say how many one person may get.")),
    "lost": (
        N_("Cerner no longer returns the appointment"), "oracle",
        N_("Check in Cerner whether it still exists, and whether the system account may read it.")),
    # the visit
    "cancelled": (N_("The appointment was cancelled before it was sent"), "", ""),
    "past": (N_("The visit had begun or was over"), "", ""),
    "stale": (N_("It was too late for this reminder"), "", ""),
    "not_booked": (N_("The appointment is not booked, only proposed or already done"), "", ""),
    "not_video": (
        N_("The appointment is no longer a video visit"), "you",
        N_("If it is one, add its type under Video visits.")),
    "no_department": (
        N_("Its location does not belong to any of your departments"), "you",
        N_("Add the location under Departments.")),
    "no_patient": (N_("The appointment names no patient"), "clinic", N_("Enter the patient in the appointment.")),
    "several_patients": (N_("The appointment has several patients, and none may learn of another's visit"), "", ""),
    "moved_to_other_patient": (N_("The appointment was given to another patient"), "", ""),
    "appointment_not_returned": (
        N_("Cerner did not return the appointment"), "oracle",
        N_("Check in Cerner whether it still exists, and whether the system account may read it.")),
    "quiet_hours": (
        N_("Quiet hours last until the visit begins"), "you", N_("Quiet hours are in the settings.")),
    # the person
    "excluded_department": (
        N_("The settings leave this department out"), "you", N_("Choose in the settings who is left out.")),
    "excluded_type": (
        N_("The settings leave this appointment type out"), "you", N_("Choose in the settings who is left out.")),
    "patient_not_returned": (
        N_("Cerner did not return the patient's record"), "oracle",
        N_("Check in Cerner whether the system account may read it.")),
    "deceased": (N_("The record says that the patient has died"), "", ""),
    "inactive": (
        N_("The patient's record is inactive, or was merged into another"), "clinic",
        N_("Book the visit for the record that is in use.")),
    "minor": (N_("The patient is a minor"), "you", N_("The settings say whether minors are texted too.")),
    "prefers_other_channel": (
        N_("The patient prefers another channel, which is not switched on here"), "you",
        N_("Switch on text messages or e-mail too.")),
    "no_mobile": (
        N_("The record has no mobile number"), "clinic",
        N_("Enter the mobile number in Cerner; e-mail, if you switch it on, reaches patients without one.")),
    "no_address": (N_("The record has no e-mail address"), "clinic", N_("Enter it in Cerner.")),
    "no_contact": (
        N_("The record has neither a mobile number nor an e-mail address"), "clinic", N_("Enter one in Cerner.")),
    "not_allowed_number": (
        N_("A test connection texts only the numbers on its list"), "you",
        N_("Add the numbers of your testers in the settings.")),
    "not_allowed_address": (
        N_("A test connection sends e-mail only to the addresses on its list"), "you",
        N_("Add the addresses of your testers in the settings.")),
    "told_before": (N_("The same phone or mailbox has already got a message about this visit"), "", ""),
    "opted_out": (
        N_("The person said STOP"), "clinic",
        N_("Call instead. Only the person can undo it, by replying START.")),
    "link_revoked": (N_("Staff revoked the link at that moment: it is sent with the new one"), "", ""),
    # limits
    "email_rate": (N_("The mail service is busy: it is sent as soon as it may be"), "", ""),
    "country_not_reached": (
        N_("The sender cannot text the country of this number"), "operator",
        N_("Another sender may reach it; e-mail does.")),
    "visit_limit": (N_("The limit of messages about this visit is reached"), "", ""),
    "recipient_limit": (N_("Today's limit of messages to this person is reached"), "", ""),
    "clinician_limit": (N_("This clinician has reached today's limit"), "", ""),
    "tenant_limit": (
        N_("Your organization has sent as much as it may in a day"), "operator", N_("Ask whether that is intended.")),
    "reference_unreadable": (
        N_("A stored reference to the appointment cannot be read"), "operator", N_("A key of the service is missing.")),
    "out_of_time": (N_("There was no time left in this run: it is sent in the next"), "", ""),
    # brakes
    "off": (N_("Messages are off"), "you", N_("Switch them on.")),
    "paused": (N_("Messages are paused"), "you", N_("Resume when it is right.")),
    "sender_paused": (N_("The sender is paused"), "operator", N_("Ask why.")),
    "held_volume": (N_("Held: far more than usual within an hour"), "you", N_("Check, then release.")),
    "held_mass_cancellation": (
        N_("Held: an unusual part of a day's visits was cancelled"), "you", N_("Check, then release.")),
    "held_restored": (N_("Held: the storage was restored, or nothing was sent for long"), "you",
                      N_("Check, then release.")),
    "forgotten_after_restore": (N_("An administrator chose to forget what was due"), "", ""),
    # what nobody knows
    "window_over": (
        N_("No answer came, so nobody knows whether it was sent; it is not sent twice"), "",
        N_("A report of its delivery may still settle it.")),
    "changed_since_claim": (
        N_("No answer came, and the appointment changed meanwhile; it is not sent twice"), "",
        N_("A report of its delivery may still settle it.")),
}  # fmt: skip
_OF_AZURE: dict[str, Words] = {
    "refused": (
        N_("Azure refused this message, usually because the number or address does not exist"), "clinic",
        N_("Compare it in Cerner.")),
    "not_allowed": (
        N_("Azure does not let this service send"), "operator",
        N_("Compare sender and access with the Azure resource.")),
    "never_accepted": (N_("Azure never accepted this message"), "", ""),
    "unreadable_answer": (N_("Azure gave an answer that cannot be read"), "operator", N_("Check the log.")),
}  # fmt: skip


def words_of(rule: str) -> Words:
    """A rule that is not known here is shown as it is: rows may be of a later version."""
    return RULES.get(rule) or _OF_AZURE.get(rule.partition(".")[2]) or (rule, "", "")
