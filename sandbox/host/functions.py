"""Outcome: the app's functions, checked as Azure's indexing and called as its worker does.

Names and reserved routes follow azure-functions-host (Utility, ScriptHost). Plain functions share a thread
pool, coroutines one event loop, so that a blocking `async def` stalls its whole process here too.
"""

import asyncio
import importlib
import inspect
import json
import logging
import os
import re
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import azure.functions as func

log = logging.getLogger("sandbox.host")
_NAME = re.compile(r"(?!host$)[a-z][a-z0-9_-]{0,127}", re.IGNORECASE)
_TRIGGERS = ("httpTrigger", "timerTrigger", "queueTrigger", "eventGridTrigger")


class Refused(Exception):
    """Azure would not load this app, or this host does not imitate what it asks for."""


class Declared(NamedTuple):
    """One function; `binding` is its trigger with the names that function.json uses."""
    name: str
    binding: Mapping[str, Any]
    call: Callable[..., Any]


class App(NamedTuple):
    functions: tuple[Declared, ...]
    extensions: Mapping[str, Any]  # of the host.json beside the module

    def of(self, kind: str) -> list[Declared]:
        """The functions of one trigger type, by name: the order in which Azure tries routes."""
        found = (one for one in self.functions if one.binding["type"] == kind)
        return sorted(found, key=lambda one: one.name.lower())


def load(module_name: str) -> App:
    """Raises Refused, or whatever the app's import raises."""
    module = importlib.import_module(module_name)
    apps = [value for value in vars(module).values() if isinstance(value, func.FunctionRegister)]
    if len(apps) != 1:
        raise Refused(f"{module_name} must hold exactly one FunctionApp, found {len(apps)}")
    host_json = json.loads((Path(module.__file__ or "").parent / "host.json").read_text("utf-8"))
    return App(tuple(_declared(one) for one in apps[0].get_functions()), host_json.get("extensions", {}))


def setting(text: str) -> str:
    """`text` with each %NAME% replaced by that app setting, which must be there."""
    return re.sub(r"%([^%]+)%", lambda match: os.environ[match[1]], text)


def _declared(function: Any) -> Declared:
    name, trigger = str(function.get_function_name()), function.get_trigger()
    declared = Declared(name, dict(trigger.get_dict_repr()), function.get_user_function())
    if not _NAME.fullmatch(name):
        raise Refused(f"{name!r} is no valid function name")
    strange = {one.type for one in function.get_bindings()} - {"http", *_TRIGGERS}
    if strange or function.get_settings_dict("retry_policy"):
        raise Refused(f"{name}: {strange or 'a retry policy'} is not imitated here")
    if trigger.type == "httpTrigger":
        if not declared.binding.get("methods"):
            raise Refused(f"{name}: name the HTTP methods")
        if str(declared.binding.get("authLevel")).lower() != "anonymous":
            raise Refused(f"{name}: function keys are not imitated here, use AuthLevel.ANONYMOUS")
        if str(declared.binding.get("route")).lstrip("/").lower().startswith(("admin", "runtime")):
            raise Refused(f"{name}: no route may begin with admin or runtime")
    return declared


class Invoker:
    """Runs the functions of one process; each run leaves a log line without URL, body or exception text."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(int(os.environ.get("PYTHON_THREADPOOL_THREAD_COUNT") or 32))
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    def start(self, declared: Declared, argument: Any) -> Future[Any]:
        """Call the function with its trigger's value; the future holds its result or exception."""
        arguments = {declared.binding["name"]: argument}
        if "context" in inspect.signature(declared.call).parameters:
            arguments["context"] = SimpleNamespace(
                invocation_id=str(uuid.uuid4()), function_name=declared.name, trace_context=None,
                thread_local_storage=threading.local(), retry_context=None)
        report = partial(_report, declared.name, time.monotonic())
        if inspect.iscoroutinefunction(declared.call):
            future = asyncio.run_coroutine_threadsafe(declared.call(**arguments), self._loop)
        else:
            future = self._pool.submit(declared.call, **arguments)
        future.add_done_callback(report)
        return future


def _report(name: str, started: float, future: Future[Any]) -> None:
    error, took = future.exception(), (time.monotonic() - started) * 1000
    log.log(logging.ERROR if error else logging.INFO, "function=%s ms=%d outcome=%s", name, took,
            type(error).__name__ if error else "ok")
    for frame in traceback.extract_tb(error.__traceback__ if error else None):
        log.debug("function=%s at=%s:%s:%s", name, Path(frame.filename).name, frame.lineno, frame.name)
