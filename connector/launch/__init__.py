"""SMART App Launch, visit sessions, Microsoft sign-in and user links."""

from connector.launch.handoff import begin_hand_off, redeem_code
from connector.launch.links import (
    LinkedUser,
    UserLink,
    add_link,
    find_link,
    is_linked,
    release_link,
    remove_link,
    user_links,
)
from connector.launch.routes import blueprint as launch_blueprint
from connector.launch.routes import own_redirect_uri, redirect_uri
from connector.launch.session import VisitSession, open_session
from connector.launch.signin import blueprint as signin_blueprint
from connector.launch.staff import StaffAccount, begin_staff_sign_in, staff_account
from connector.launch.state import SESSIONS

__all__ = [
    "SESSIONS",
    "LinkedUser",
    "StaffAccount",
    "UserLink",
    "VisitSession",
    "add_link",
    "begin_hand_off",
    "begin_staff_sign_in",
    "find_link",
    "is_linked",
    "launch_blueprint",
    "open_session",
    "own_redirect_uri",
    "redeem_code",
    "redirect_uri",
    "release_link",
    "remove_link",
    "signin_blueprint",
    "staff_account",
    "user_links",
]
