"""The credential with which a region's storage is opened when there is no connection string."""

from __future__ import annotations

from typing import TYPE_CHECKING

from connector.settings import RegionSettings

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential


def storage_credential(settings: RegionSettings) -> TokenCredential:
    """The app's managed identity; for operator's commands, whoever `az login` signed in."""
    from azure.identity import AzureCliCredential, ManagedIdentityCredential

    if settings.storage_credential == "azurecli":
        return AzureCliCredential()
    return ManagedIdentityCredential(client_id=settings.identity_client_id)
