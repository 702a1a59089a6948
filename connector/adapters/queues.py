"""Azure Storage queues of one region. A message is a hint with ids that we minted; the tables are the truth."""

from __future__ import annotations

import json
from threading import Lock
from typing import TYPE_CHECKING

from connector.adapters.identity import credential
from connector.errors import TransientError
from connector.settings import RegionSettings

if TYPE_CHECKING:
    from azure.storage.queue import QueueServiceClient

Hint = dict[str, str | int]
HINT_LIFE_S = 3600
"""A hint that nobody took in an hour is stale: the next timer run gives it again from the tables."""


class Queues:
    """The queues of one region."""

    def __init__(self, settings: RegionSettings) -> None:
        self._settings = settings
        self._service: QueueServiceClient | None = None
        self._lock = Lock()

    def send(self, queue: str, hint: Hint, *, delay_s: int = 0) -> None:
        """Put one hint on a queue, visible after `delay_s`, gone an hour later."""
        from azure.core.exceptions import (
            HttpResponseError,
            ResourceNotFoundError,
            ServiceRequestError,
            ServiceResponseError,
        )

        client = self._client().get_queue_client(queue)
        body = json.dumps(hint, separators=(",", ":"))
        try:
            try:
                client.send_message(body, visibility_timeout=delay_s, time_to_live=delay_s + HINT_LIFE_S)
            except ResourceNotFoundError:
                self._create(queue)
                client.send_message(body, visibility_timeout=delay_s, time_to_live=delay_s + HINT_LIFE_S)
        except (HttpResponseError, ServiceRequestError, ServiceResponseError):
            raise TransientError("storage.queue_failed") from None

    def poisoned(self) -> dict[str, int]:
        """Hints that failed too often and were set aside by the host, by poison queue; those with any.

        Raises TransientError.
        """
        from azure.core.exceptions import HttpResponseError, ServiceRequestError, ServiceResponseError

        found: dict[str, int] = {}
        try:
            for queue in self._client().list_queues():
                if queue.name.endswith("-poison"):
                    of_one = self._client().get_queue_client(queue.name).get_queue_properties()
                    found[queue.name] = of_one.approximate_message_count or 0
        except (HttpResponseError, ServiceRequestError, ServiceResponseError):
            raise TransientError("storage.queue_failed") from None
        return {name: count for name, count in found.items() if count}

    def _create(self, queue: str) -> None:
        from azure.core.exceptions import ResourceExistsError

        try:
            self._client().create_queue(queue)
        except ResourceExistsError:
            return

    def _client(self) -> QueueServiceClient:
        with self._lock:
            if self._service is None:
                from azure.storage.queue import QueueServiceClient

                connection = self._settings.storage_connection
                if connection:
                    self._service = QueueServiceClient.from_connection_string(connection)
                else:
                    uri = self._settings.queue_service_uri or ""
                    self._service = QueueServiceClient(uri, credential=credential(self._settings))
            return self._service
