"""Loads, indexes and calls the app through Microsoft's own worker code, and prints what came back as JSON.

Run by test_worker_runtime.py as a process of its own; package_program.py takes the index alone.
`azure_functions_runtime` is what Azure's worker for Python 3.13 runs behind its gRPC proxy; its handlers take
messages by attribute, so plain objects stand in for the protobuf classes (FunctionRpc.proto of
azure-functions-language-worker-protobuf).
"""

import asyncio
import json
import re
import sys
from types import SimpleNamespace
from typing import Any

import azure_functions_runtime as runtime


class Message(SimpleNamespace):
    """Any protobuf message: its fields are what it was made with."""

    def WhichOneof(self, group: str) -> str | None:
        fields = [name for name in ("data", *vars(self)) if name in vars(self)]
        return fields[0] if fields else None


class _Protos(SimpleNamespace):
    """Every message type that is not named here is a plain Message."""

    def __getattr__(self, name: str) -> type[Message]:
        return type(name, (Message,), {})


class StatusResult(Message):
    Success, Failure = "success", "failure"


class BindingInfo(Message):
    out, inout = 1, 2  # Direction
    undefined = 0  # DataType


class RpcHttpCookie(Message):
    SameSite = SimpleNamespace(**{name: name for name in ("None", "Lax", "Strict", "ExplicitNone")})


PROTOS = _Protos(StatusResult=StatusResult, BindingInfo=BindingInfo, RpcHttpCookie=RpcHttpCookie)


def request(kind: str, **fields: Any) -> Message:
    return Message(
        properties={"host": "127.0.0.1", "protos": PROTOS}, request=Message(**{kind: Message(**fields)})
    )


def succeeded(response: Any) -> Any:
    assert response.result.status == StatusResult.Success, response.result.exception.message
    return response


async def call(function_id: str, name: str, data: Message, metadata: dict[str, Message] | None = None) -> Any:
    return await runtime.invocation_request(
        request(
            "invocation_request",
            invocation_id=f"call-{function_id}",
            function_id=function_id,
            input_data=[Message(name=name, data=data)],
            trigger_metadata=metadata or {},
            trace_context=Message(trace_parent="", trace_state="", attributes={}),
            retry_context=Message(retry_count=0, max_retry_count=0, exception=None),
        )
    )


def http(method: str, path: str, /, headers: dict[str, str] | None = None, **params: str) -> Message:
    call = {"method": method, "url": f"http://127.0.0.1{path}", "headers": headers or {}, "query": {}}
    return Message(http=Message(**call, params=params, body=Message(bytes=b"")))


def http_answer(response: Any) -> dict[str, Any]:
    answer = succeeded(response).return_value.http
    body = next(iter(vars(answer.body).values()))
    return {
        "status": int(answer.status_code),
        "headers": {name.lower(): value for name, value in answer.headers.items()},
        "cookies": {cookie.name: cookie.path.value for cookie in answer.cookies or ()},
        "body": body.decode() if isinstance(body, bytes) else body,
    }


async def index(app_directory: str) -> dict[str, Any]:
    """The app's functions by name, each loaded."""
    succeeded(
        await runtime.worker_init_request(
            request("worker_init_request", capabilities={}, function_app_directory=app_directory)
        )
    )
    listed = succeeded(await runtime.functions_metadata_request(request("functions_metadata_request")))
    functions = {one.name: one for one in listed.function_metadata_results}
    for one in functions.values():
        loading = request("function_load_request", function_id=one.function_id, metadata=one)
        succeeded(await runtime.function_load_request(loading))
    return functions


def bindings(functions: dict[str, Any]) -> dict[str, Any]:
    return {name: [json.loads(raw) for raw in one.raw_bindings] for name, one in functions.items()}


async def main(app_directory: str) -> dict[str, Any]:
    runtime.start_threadpool_executor()
    functions = await index(app_directory)
    from_our_page, due = {"Sec-Fetch-Site": "same-origin"}, Message(json='{"IsPastDue": false}')

    def hint(text: str) -> tuple[str, Message, dict[str, Message]]:
        return "message", Message(string=text), {"Id": Message(string="1"), "DequeueCount": Message(json="1")}

    async def unauthenticated(one: Any) -> dict[str, int]:
        """Status of each method of a route that is called from our own origin with nothing to show."""
        binding = json.loads(one.raw_bindings[0])
        values = dict.fromkeys(re.findall(r"{\*?(\w+)}", binding["route"]), "axxxxxxxx")
        path = "/" + re.sub(r"{\*?(\w+)}", "axxxxxxxx", binding["route"])
        asked = {method: http(method, path, from_our_page, **values) for method in binding["methods"]}
        return {
            method: http_answer(await call(one.function_id, "req", data))["status"] for method, data in asked.items()
        }

    ids = {name: one.function_id for name, one in functions.items()}
    gone = json.dumps({"tenant": "00000000-0000-4000-8000-000000000000", "connection": "a0", "day": "2026-01-01"})
    malformed = await call(ids["messages_discover_americas"], *hint("{"))
    results = {
        "bindings": bindings(functions),
        "unauthenticated": {
            name: await unauthenticated(one) for name, one in functions.items() if "httpTrigger" in one.raw_bindings[0]
        },
        "health": http_answer(await call(ids["health"], "req", http("GET", "/health"))),
        "home": http_answer(await call(ids["zz_home"], "req", http("GET", "/"))),
        "lost": http_answer(await call(ids["zz_home"], "req", http("GET", "/none", path="none"))),
        "signout": http_answer(await call(ids["portal_signout"], "req", http("POST", "/", from_our_page))),
        "timer": succeeded(await call(ids["messages_sweep"], "timer", due)).result.status,
        "queue": succeeded(await call(ids["messages_discover_americas"], *hint(gone))).result.status,
        "malformed": malformed.result.status,
    }
    runtime.stop_threadpool_executor()
    return results


if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])
    sys.stdout.write(json.dumps(asyncio.run(main(sys.argv[1]))))
