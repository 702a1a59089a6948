"""SMART App Launch, visit sessions, Microsoft sign-in and user links."""

from connector.launch.links import LinkedUser, UserLink, add_link, find_link, remove_link, user_links
from connector.launch.routes import blueprint as launch_blueprint
from connector.launch.routes import redirect_uri
from connector.launch.session import VisitSession, open_session
from connector.launch.signin import Identity, forget, identity
from connector.launch.signin import blueprint as signin_blueprint
from connector.launch.state import SESSIONS

__all__ = [
    "SESSIONS",
    "Identity",
    "LinkedUser",
    "UserLink",
    "VisitSession",
    "add_link",
    "find_link",
    "forget",
    "identity",
    "launch_blueprint",
    "open_session",
    "redirect_uri",
    "remove_link",
    "signin_blueprint",
    "user_links",
]
