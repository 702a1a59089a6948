"""Structured log lines that cannot carry a patient: constant event names and ids that we minted.

The Functions worker ships only the formatted text of the root logger's records, so `event` renders `key=value`
itself, and `protect` sets a formatter on root's handlers that prints an exception's type and frames, never its text
(texts of vendor errors hold URLs, and URLs hold patients).
"""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from connector.errors import ConnectorError

_logger = logging.getLogger("connector")
_NOISY = ("azure", "msal", "asyncio", "PIL")
_SILENT = ("urllib3", "requests", "httpx")
"""They put addresses into warnings too: urllib3 that of an answer with a malformed header, and the header."""
_VALUE = re.compile(r"[A-Za-z0-9_.:+-]{0,160}\Z")


def event(name: str, *, level: int = logging.INFO, **fields: str | int | float | bool | None) -> None:
    """Log one event. Values are ids, codes, counts or durations; anything else is replaced by `?`."""
    rendered = " ".join(f"{key}={_safe(value)}" for key, value in fields.items() if value is not None)
    _logger.log(level, "%s %s", name, rendered)


def failure(name: str, error: BaseException, **fields: str | int | float | bool | None) -> None:
    """Log an unexpected error: its type and where it was raised, never its text."""
    last = traceback.extract_tb(error.__traceback__)[-4:]
    frames = "<".join(f"{frame.name}:{frame.lineno}" for frame in reversed(last))
    at = frames.replace("<", "-").replace(">", "")[:160]
    event(name, level=logging.ERROR, error=type(error).__name__, at=at, **fields)


@contextmanager
def contained(
    name: str, *, tenant: str | None = None, connection: str | None = None, region: str | None = None
) -> Iterator[None]:
    """Work for one of many, in a run for all of them: whatever goes wrong is logged, and the others have their turn."""
    try:
        yield
    except ConnectorError as error:
        event(name, code=error.code, tenant=tenant, connection=connection, region=region)
    except Exception as error:
        failure(name, error, tenant=tenant, connection=connection, region=region)


def _safe(value: str | int | float | bool) -> str:
    text = str(value)
    return text if _VALUE.fullmatch(text) else "?"


class TypeAndFramesFormatter(logging.Formatter):
    """Formats records without the text of any exception."""

    def format(self, record: logging.LogRecord) -> str:
        if record.exc_info:
            record.exc_text = None  # another logger's handler, asked first, leaves its rendering here
        return super().format(record)

    def formatException(self, ei: object) -> str:
        if not isinstance(ei, tuple) or ei[1] is None:
            return ""
        frames = traceback.extract_tb(ei[2])
        return " ".join([type(ei[1]).__name__, *(f"{frame.name}:{frame.lineno}" for frame in frames)])


def protect() -> None:
    """Quiet the libraries that log URLs and strip exception texts from what root's handlers print."""
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in _SILENT:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    _logger.setLevel(logging.INFO)
    for handler in logging.getLogger().handlers:
        shape = handler.formatter._fmt if handler.formatter else None
        handler.setFormatter(TypeAndFramesFormatter(shape))
