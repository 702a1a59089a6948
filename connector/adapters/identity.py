"""The credential with which storage and the key vault are opened when there is no key: an identity's."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from connector.errors import ConnectorError, PermanentError, TransientError
from connector.settings import RegionSettings

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential


def credential(settings: RegionSettings) -> TokenCredential:
    """The app's managed identity; for operator's commands, whoever `az login` signed in."""
    from azure.identity import AzureCliCredential, ManagedIdentityCredential

    if settings.storage_credential == "azurecli":
        return AzureCliCredential()
    return ManagedIdentityCredential(client_id=settings.identity_client_id)


def tokens(settings: RegionSettings, scope: str, vendor: str) -> Callable[[], str]:
    """The identity's tokens, one after the other; made at the first. Raises what `token` raises."""
    made: list[TokenCredential] = []

    def current() -> str:
        made[:] = made or [credential(settings)]
        return token(made[0], scope, vendor)

    return current


def token(identity: TokenCredential, scope: str, vendor: str) -> str:
    """A token, which azure-identity keeps until it ends.

    PermanentError `<vendor>.not_allowed`: there is no such identity here. TransientError `<vendor>.unreachable`: no
    answer; nothing was sent to the vendor.
    """
    from azure.core.exceptions import ClientAuthenticationError

    failure: ConnectorError
    try:
        return identity.get_token(scope).token
    except ClientAuthenticationError:
        failure = PermanentError(f"{vendor}.not_allowed")
    except Exception:  # whatever it was, nothing was sent
        failure = TransientError(f"{vendor}.unreachable")
    raise failure
