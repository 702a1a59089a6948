"""Who may ask simulated Graph, and its form of a refusal."""

from __future__ import annotations

import jwt
from flask import request

from sandbox import entra_tokens
from sandbox.graph_meetings import BadMeeting
from sandbox.stand_in import world
from sandbox.world import Hospital, Json


class GraphError(Exception):
    """A refusal in Graph's wire form."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


def authorized(any_of: tuple[str, ...]) -> Hospital:
    """The tenant of a valid app-only token that carries one of the permissions."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    try:
        claims = entra_tokens.check(world, token if scheme == "Bearer" else "", entra_tokens.GRAPH)
    except jwt.InvalidTokenError:
        raise GraphError(401, "InvalidAuthenticationToken", "Access token validation failure.") from None
    hospital = world.hospital_of_tid(claims["tid"])
    if hospital is None or not set(any_of) & set(claims.get("roles", ())):
        raise GraphError(
            403, "Authorization_RequestDenied", "Insufficient privileges to complete the operation."
        )
    return hospital


def json_body() -> Json:
    body = request.get_json(silent=True)
    if not isinstance(body, dict):
        raise BadMeeting("Unable to read JSON request payload.")
    return body
