"""The window of a hand-off: to Microsoft's sign-in and back, where the code is shown. A sign-in of staff alone
(staff.py) comes back here too; administrators have their own sign-in in the portal.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import azure.functions as func

from connector import logs, web
from connector.errors import RefusedError
from connector.launch.handoff import open_hand_off, sign_in_to
from connector.launch.staff import end_staff_sign_in, forget_flow, keep_flow, kept_flow

if TYPE_CHECKING:
    from connector.adapters.entra import SignedInUser
    from connector.bootstrap import Services

def blueprint(services: Callable[[], Services]) -> func.Blueprint:
    bp = func.Blueprint()

    @bp.function_name("signin_handoff")
    @bp.route(route="signin/{token}", methods=["GET"])
    @web.answers_with_page
    def signin_handoff(req: func.HttpRequest) -> func.HttpResponse:
        """The window that a visit page opened; nothing is spent until somebody has signed in."""
        token = req.route_params.get("token", "")
        open_hand_off(services().directory, services().sealer, token)
        redirect_uri = services().settings.public_url + "/signin/callback"
        uri, flow = services().entra.begin_sign_in(redirect_uri, prompt="select_account")
        return web.redirect(uri, cookies=(keep_flow(services().sealer, {"token": token, "flow": flow}),))

    @bp.function_name("signin_callback")
    @bp.route(route="signin/callback", methods=["GET"])
    @web.answers_with_page
    def signin_callback(req: func.HttpRequest) -> func.HttpResponse:
        kept = kept_flow(req, services().sealer)
        if kept is None:
            raise RefusedError(
                "signin.expired",
                "This sign-in was not started in this browser or took longer than ten minutes. Please start again.",
                status=400,
                title="Please sign in again",
            )
        parameters = {name: values[0] for name, values in web.query(req).items() if len(values) == 1}
        user = services().entra.finish_sign_in(kept["flow"], parameters)
        if "to" in kept:
            return end_staff_sign_in(services(), kept["to"], user)
        return _hand_back(services(), kept["token"], user)

    return bp


def _hand_back(services: Services, token: str, user: SignedInUser) -> func.HttpResponse:
    """The code, with both identities named: whoever reads another's EHR name here was sent another's link."""
    hand_off = open_hand_off(services.directory, services.sealer, token)
    code, status = None, 200
    try:
        code = sign_in_to(hand_off, services.sealer, user)
    except RefusedError as refused:
        if refused.code != "link.other_tenant":
            raise
        logs.event("request.refused", code=refused.code)
        status = refused.status
    return web.page(
        "signin_code.html",
        status=status,
        cookies=(forget_flow(),),
        code=code,
        purpose=hand_off.purpose,
        name=user.name or user.username,
        username=user.username,
        ehr_name=hand_off.ehr_name or hand_off.fhir_user,
        ehr_user=hand_off.fhir_user,
        again=f"/signin/{token}",
    )
