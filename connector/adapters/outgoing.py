"""Where outgoing requests may go, enforced at the socket.

A FHIR base URL is typed in by a customer, and its server names further URLs (token endpoint, keys, next
page). So every connection resolves its host once, checks every address it got, and connects to a checked
address, with the TLS name still verified (server-side request forgery, DNS rebinding: OWASP SSRF Prevention
Cheat Sheet).
"""

from __future__ import annotations

import contextvars
import ipaddress
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util.connection import allowed_gai_family

from connector.errors import PermanentError, TransientError

_EMBEDDING = tuple(
    ipaddress.IPv6Network(n) for n in ("::/96", "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")
)
"""IPv6 ranges that carry an IPv4 address: compatible, NAT64 (RFC 6052, 8215), 6to4 (3056), Teredo (4380)."""
_ISATAP = frozenset({0x00005EFE, 0x02005EFE})
_AZURE_WIRE_SERVER = ipaddress.IPv4Address("168.63.129.16")
"""Azure's virtual address of the host itself (learn.microsoft.com: What is IP address 168.63.129.16?)."""

Resolver = Callable[..., Sequence[tuple[Any, ...]]]


@dataclass(frozen=True)
class OutgoingPolicy:
    """Where requests may go: https to public addresses or, in a sandbox stamp, loopback and nothing else."""

    loopback_http: bool = False

    def check_url(self, url: str) -> SplitResult:
        """The parts of `url`; PermanentError unless absolute, of an allowed scheme, and without user-info."""
        try:
            parts = urlsplit(url)
            usable = bool(parts.hostname) and (parts.port is None or parts.port > 0)
        except ValueError:
            raise PermanentError("outgoing.refused_url") from None
        schemes = {"https", "http"} if self.loopback_http else {"https"}
        if not usable or parts.scheme not in schemes or "@" in parts.netloc or "\\" in url:
            raise PermanentError("outgoing.refused_url")
        if any(character.isspace() or not character.isprintable() for character in url):
            raise PermanentError("outgoing.refused_url")
        return parts

    def allows(self, address: str) -> bool:
        """Whether a resolved address may be connected to."""
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            return False
        if self.loopback_http:
            return ip.is_loopback and getattr(ip, "ipv4_mapped", None) is None
        if isinstance(ip, ipaddress.IPv6Address):
            embeds = ip.ipv4_mapped is not None or any(ip in network for network in _EMBEDDING)
            if embeds or (int(ip) >> 32) & 0xFFFFFFFF in _ISATAP or ip.scope_id is not None or ip.is_site_local:
                return False
        return ip.is_global and not ip.is_multicast and not ip.is_reserved and ip != _AZURE_WIRE_SERVER


def origin(url: str) -> str:
    """Scheme, host and port of `url` in one spelling."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return f"{parts.scheme}://{parts.hostname}:{port}"


class Exchange:
    """One attempt: whether the request went out, and a timer that ends it when its time is over.

    Socket time-outs count from the last byte, so a server that drips would otherwise hold a worker for hours.
    """

    def __init__(self, seconds: float) -> None:
        self.sent = False
        self.expired = False
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()
        self._timer = threading.Timer(seconds, self._expire)
        self._timer.daemon = True

    def watch(self, connected: socket.socket) -> None:
        with self._lock:
            self._socket = connected
            if self.expired:
                self._shut()

    def _expire(self) -> None:
        with self._lock:
            self.expired = True
            self._shut()

    def _shut(self) -> None:
        if self._socket is not None:
            try:
                # Not SSLSocket.shutdown, which pulls the TLS state from under the reading thread.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
            except OSError:
                pass  # closed already

    def __enter__(self) -> Exchange:
        self._token = _exchange.set(self)
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        with self._lock:
            self._socket = None
        _exchange.reset(self._token)


_exchange: contextvars.ContextVar[Exchange] = contextvars.ContextVar("outgoing_exchange")


def guarded_pools(policy: OutgoingPolicy, resolve: Resolver) -> dict[str, type[HTTPConnectionPool]]:
    """urllib3 pools whose connections only reach addresses that `policy` allows."""

    class Guarded(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            if not policy.loopback_http and not isinstance(self, HTTPSConnection):
                raise PermanentError("outgoing.refused_url")
            try:
                found = resolve(self._dns_host, self.port, allowed_gai_family(), socket.SOCK_STREAM)
            except (OSError, UnicodeError):
                raise TransientError("outgoing.unreachable") from None
            if not found or not all(policy.allows(entry[4][0]) for entry in found):
                raise PermanentError("outgoing.refused_address")
            for family, kind, protocol, _, address in found[:4]:
                sock = socket.socket(family, kind, protocol)
                try:
                    for option in self.socket_options or ():
                        sock.setsockopt(*option)
                    sock.settimeout(self.timeout)
                    sock.connect(address)
                except OSError:
                    sock.close()
                    continue
                sys.audit("http.client.connect", self, self.host, self.port)
                _exchange.get().watch(sock)
                return sock
            raise TransientError("outgoing.unreachable")

        def send(self, data: Any) -> None:
            if self.sock is None:
                self.connect()
            _exchange.get().watch(self.sock)
            _exchange.get().sent = True
            super().send(data)

    class GuardedTls(Guarded, HTTPSConnection):
        pass

    class Pool(HTTPConnectionPool):
        ConnectionCls = Guarded

    class TlsPool(HTTPSConnectionPool):
        ConnectionCls = GuardedTls

    return {"http": Pool, "https": TlsPool}


class GuardedAdapter(HTTPAdapter):
    def __init__(self, pools: dict[str, type[HTTPConnectionPool]]) -> None:
        self._pools = pools
        super().__init__(pool_connections=32, pool_maxsize=16)

    def init_poolmanager(self, *args: Any, **keywords: Any) -> None:
        super().init_poolmanager(*args, **keywords)
        self.poolmanager.pool_classes_by_scheme = self._pools
