"""Composition root: settings in, services out, once a process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING

from connector import logs, settings
from connector.adapters import identity, vault
from connector.adapters.acs_email import AcsEmail
from connector.adapters.acs_numbers import AcsNumbers
from connector.adapters.acs_sms import AcsSms
from connector.adapters.cerner import Cerner
from connector.adapters.entra import Entra
from connector.adapters.graph import Graph
from connector.adapters.graph_directory import GraphDirectory
from connector.adapters.graph_http import GraphHttp
from connector.adapters.graph_subscriptions import GraphSubscriptions
from connector.adapters.http import OutgoingHttp, OutgoingPolicy
from connector.adapters.vault import VaultKey
from connector.ehr_access import EhrAccess
from connector.errors import PermanentError
from connector.keys import Sealer
from connector.regions import Region
from connector.settings import Settings
from connector.tenants import Directory, RegionalStorage

if TYPE_CHECKING:
    import azure.functions as func

_GRAPH_SCOPE = "https://graph.microsoft.com/.default"


@dataclass(frozen=True)
class Services:
    """What the features work with."""

    settings: Settings
    storage: RegionalStorage
    directory: Directory
    sealer: Sealer
    ehr: EhrAccess
    entra: Entra
    graph: Graph
    graph_directory: GraphDirectory
    subscriptions: GraphSubscriptions
    sms: Callable[[Region], AcsSms]
    email: Callable[[Region], AcsEmail | None]
    """None where the stamp has no sender address for the region."""
    numbers: Callable[[Region], AcsNumbers]


def build(loaded: Settings) -> Services:
    """Wire everything; opens no connection."""
    storage = RegionalStorage.of(loaded)
    entra = Entra(loaded)
    graph_http = GraphHttp(loaded.graph_url, lambda tenant_id: entra.app_token(tenant_id, _GRAPH_SCOPE))
    return Services(
        settings=loaded,
        storage=storage,
        directory=Directory(loaded, storage),
        sealer=Sealer(loaded.sealing_keys),
        ehr=EhrAccess(loaded, Cerner(OutgoingHttp(OutgoingPolicy(loopback_http=loaded.sandbox))), _vault_key(loaded)),
        entra=entra,
        graph=Graph(graph_http),
        graph_directory=GraphDirectory(graph_http),
        subscriptions=GraphSubscriptions(
            graph_http, version=loaded.graph_subscriptions_version, public_url=loaded.public_url
        ),
        sms=lru_cache(maxsize=None)(lambda region: _sms(loaded, region)),
        email=lru_cache(maxsize=None)(lambda region: _email(loaded, region)),
        numbers=lru_cache(maxsize=None)(lambda region: _numbers(loaded, region)),
    )


def _vault_key(loaded: Settings) -> VaultKey | None:
    if loaded.smart_vault_key is None:
        return None
    return VaultKey(loaded.smart_vault_key, identity.tokens(loaded.regions[0], vault.SCOPE, "vault"))


def _sms(loaded: Settings, region: Region) -> AcsSms:
    served = loaded.region(region)
    if not served.communication_endpoint:
        raise PermanentError("sms.not_configured")
    return AcsSms(served.communication_endpoint, served.communication_key, served.identity_client_id)


def _email(loaded: Settings, region: Region) -> AcsEmail | None:
    served = loaded.region(region)
    if not served.communication_endpoint or not served.email_sender:
        return None
    endpoint, key, identity = served.communication_endpoint, served.communication_key, served.identity_client_id
    return AcsEmail(endpoint, key, identity, served.email_sender, served.email_rate)


def _numbers(loaded: Settings, region: Region) -> AcsNumbers:
    served = loaded.region(region)
    if not served.communication_endpoint:
        raise PermanentError("numbers.not_configured")
    return AcsNumbers(served.communication_endpoint, served.communication_key, served.identity_client_id)


_lock = Lock()
_services: Services | None = None


def services() -> Services:
    """This process's services, built from the environment on first use."""
    global _services
    with _lock:
        if _services is None:
            logs.protect()
            _services = build(settings.load())
        return _services


def blueprints() -> list[func.Blueprint]:
    """Every function of the app. Settings are read now, so a wrong one fails at start with its name."""
    from connector import checks, health, launch, messages, numbers, portal, tenants, visits

    regions = [served.region for served in services().settings.regions]
    return [
        health.blueprint(services),
        launch.launch_blueprint(services),
        launch.signin_blueprint(services),
        visits.clinician_blueprint(services),
        visits.actions_blueprint(services),
        visits.board_blueprint(services),
        visits.board_alone_blueprint(services),
        visits.patient_blueprint(services),
        visits.patient_launch_blueprint(services),
        visits.patient_test_blueprint(services),
        visits.retention_blueprint(services),
        visits.ahead_blueprint(services, regions),
        visits.webhooks_blueprint(services),
        visits.staff_door_blueprint(services),
        messages.blueprint(services, regions),
        messages.routes_blueprint(services),
        messages.events_blueprint(services, regions),
        messages.lost_link_blueprint(services, regions),
        checks.blueprint(services),
        numbers.blueprint(services, regions),
        tenants.upkeep_blueprint(services),
        portal.pages_blueprint(services),
        portal.signin_blueprint(services),
        portal.api_blueprint(services),
    ]
