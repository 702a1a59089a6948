"""What an operation says of itself, in English: what happens, what to do, who can do it.

A page translates `what` and `fix`; Babel finds them as the first two arguments of `Words`.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Who = Literal["", "you", "operator"]


class Words(NamedTuple):
    what: str
    fix: str = ""
    who: Who = ""


STATES = {
    "searching": Words("Looking for a number that is available."),
    "reserved": Words("A number is held for you."),
    "purchasing": Words("The number is being set up. This takes up to two minutes; you can leave this page."),
    "releasing": Words("The number is being given back."),
    "done": Words("Done."),
    "failed": Words("This did not work."),
}

CODES = {
    "waiting": Words("Azure does not answer at the moment. It is asked again automatically; you can leave this page."),
    "no_stock": Words(
        "Azure has no such number at the moment. Nothing was bought.",
        "Try another kind of number, leave out the area code, or try again tomorrow.", "you",
    ),
    "agreement_required": Words(
        "Such numbers are only sold to those who sign an agreement with the carrier. Nothing was bought.",
        "Ask the operator of this service to buy one in the Azure portal, and add it here as a sender.", "operator",
    ),
    "not_allowed": Words(
        "The service may not buy numbers at its own Azure resource. Nothing was bought.",
        "The operator compares the key or the role of the app at the Communication Services resource; numbers need a "
        "paid subscription of an eligible kind.", "operator",
    ),
    "microsoft_quota": Words(
        "Microsoft's limit of numbers for this Azure subscription is used up. Nothing was bought.",
        "The operator can ask Azure support to raise it.", "operator",
    ),
    "refused": Words(
        "Azure refused the purchase. Nothing was bought.",
        "The operator can check whether the subscription is eligible for such numbers.", "operator",
    ),
    "expired": Words("The number could not be held long enough. Nothing was bought.", "Start again.", "you"),
    "purchase_failed": Words("Azure could not set the number up. Nothing was bought.", "Start again.", "you"),
    "unanswered": Words("Azure did not answer for an hour. Nothing was bought.", "Start again later.", "you"),
    "stuck": Words(
        "Azure has not finished the purchase within a day. It is checked again automatically.",
        "The operator can see in the Azure portal what became of it, and can ask Azure support.", "operator",
    ),
    "no_sender": Words(
        "The number was bought, but could not be added as a sender.", "Add it as a sender by hand.", "you",
    ),
    "not_released": Words(
        "Azure did not take the number back. It is still paid for.",
        "Try again; if it fails again, the operator can release it in the Azure portal.", "you",
    ),
}  # fmt: skip
