"""Outcome: messages reach their function at least once; one that keeps failing ends in `<queue>-poison`.

Every worker process polls, as every instance does in Azure. A message is leased while its function runs and
the lease renewed; success deletes it, failure shows it again after visibilityTimeout, failure maxDequeueCount
moves it. A killed worker's messages come back when the lease ends: after ten minutes as in Azure, or after
SANDBOX_QUEUE_LEASE_S. (Microsoft Learn, "Azure Queue storage trigger"; azure-sdk-for-net, QueueListener.)
"""

import logging
import os
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from typing import Any

from azure.core.exceptions import AzureError, ResourceExistsError, ResourceNotFoundError
from azure.functions.queue import QueueMessage as FunctionMessage
from azure.storage.queue import QueueClient, QueueMessage

from sandbox.host.functions import App, Declared, Invoker, Refused, setting

log = logging.getLogger("sandbox.host")
_SHORTEST_S, _LONGEST_S = 0.05, 0.5


class Poller(threading.Thread):
    """Serves one queue until `stop` is set; then ends when the messages under way are dealt with."""

    def __init__(self, declared: Declared, app: App, invoker: Invoker, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self._declared, self._invoker, self._stopping = declared, invoker, stop
        rules = app.extensions.get("queues", {})
        if rules.get("messageEncoding") != "none":
            raise Refused("host.json: extensions.queues.messageEncoding must be none")
        self._batch = int(rules.get("batchSize", 16))
        self._threshold = int(rules.get("newBatchThreshold", self._batch // 2))
        self._most = int(rules.get("maxDequeueCount", 5))
        hidden = rules.get("visibilityTimeout", "00:00:00").split(":")
        self._hidden_s = sum(int(part) * unit for part, unit in zip(hidden, (3600, 60, 1), strict=True))
        self._lease_s = int(os.environ.get("SANDBOX_QUEUE_LEASE_S") or 600)
        connection, name = os.environ[declared.binding["connection"]], setting(declared.binding["queueName"])
        self._queue = QueueClient.from_connection_string(connection, name, retry_total=0)
        self._poison = QueueClient.from_connection_string(connection, f"{name}-poison", retry_total=0)
        self._running: dict[Future[Any], tuple[QueueMessage, float]] = {}

    def run(self) -> None:
        pause = 0.0
        with suppress(AzureError):
            self._queue.create_queue()
        while self._running or not self._stopping.is_set():
            wait(self._running, pause, FIRST_COMPLETED)  # returns at once when nothing runs
            if not self._running:
                self._stopping.wait(pause)
            try:
                moved = self._turn()
                pause = _SHORTEST_S if moved else min(max(_SHORTEST_S, pause * 2), _LONGEST_S)
            except AzureError as error:
                pause = _LONGEST_S
                log.warning("queue=%s outcome=%s", self._queue.queue_name, type(error).__name__)
                with suppress(AzureError):  # missing, or something else is wrong
                    self._queue.create_queue()

    def _turn(self) -> bool:
        """Deal with what has ended, renew what runs long, fetch more; True when something moved."""
        ended = [future for future in self._running if future.done()]
        for future in ended:
            message, _ = self._running.pop(future)
            with suppress(ResourceNotFoundError):  # the lease was lost: its new holder deals with it
                self._settle(message, future.exception() is not None)
        for future, (message, renew_at) in list(self._running.items()):
            if time.monotonic() >= renew_at:
                self._running[future] = message, time.monotonic() + self._lease_s / 2
                with suppress(AzureError):  # a lost lease shows when the message is settled
                    renewed = self._queue.update_message(message, visibility_timeout=self._lease_s)
                    message.pop_receipt = renewed.pop_receipt
        if self._stopping.is_set() or len(self._running) > self._threshold:
            return bool(ended)
        received = list(self._queue.receive_messages(
            messages_per_page=self._batch, max_messages=self._batch, visibility_timeout=self._lease_s))
        for message in received:
            if (message.dequeue_count or 0) > self._most:  # its workers died each time, nobody counted
                self._settle(message, True)
            else:
                future = self._invoker.start(self._declared, _argument(message))
                self._running[future] = message, time.monotonic() + self._lease_s / 2
        return bool(ended or received)

    def _settle(self, message: QueueMessage, failed: bool) -> None:
        if failed and (message.dequeue_count or 0) < self._most:
            self._queue.update_message(message, visibility_timeout=self._hidden_s)
            return
        if failed:
            log.error("queue=%s outcome=poison", self._queue.queue_name)
            with suppress(ResourceExistsError):
                self._poison.create_queue()
            self._poison.send_message(message.content)
        self._queue.delete_message(message)


def _argument(message: QueueMessage) -> FunctionMessage:
    return FunctionMessage(
        id=message.id, body=message.content, dequeue_count=message.dequeue_count,
        pop_receipt=message.pop_receipt, insertion_time=message.inserted_on,
        expiration_time=message.expires_on, time_next_visible=message.next_visible_on)
