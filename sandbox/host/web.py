"""Outcome: HTTP reaches functions, and answers leave them, changed as Azure's host and worker change them.

Routes: by function name, ASP.NET templates (no case, final slash ignored), no match of path and method 404.
In: repeated query keys joined by commas, empty values gone, a chunked body empty, one over the limit 413.
Out: an exception 500 without body, a repeated header keeps its last value, cookies have RpcHttpCookie's
attributes. (azure-functions-host: WebScriptHostHttpRoutesManager, GrpcMessageConversionExtensions.)
"""

import json
import logging
import os
import re
import time
from collections.abc import Iterable
from http.cookies import Morsel
from typing import Any
from urllib.parse import parse_qsl, quote, unquote

import azure.functions as func
from azure.functions.eventgrid import EventGridEventInConverter as Decoder
from azure.functions.http import HttpResponseConverter
from azure.functions.meta import Datum
from werkzeug.wrappers import Request, Response

from sandbox.host.functions import App, Declared, Invoker, Refused

log = logging.getLogger("sandbox.host")
_HOLE = re.compile(r"\\\{(\\\*)?(\w+)(:int)?(\\\?)?\\\}")  # in a template that went through re.escape


class Web:
    """The WSGI application of one worker process."""

    def __init__(self, app: App, invoker: Invoker) -> None:
        prefix = app.extensions.get("http", {}).get("routePrefix", "api")
        self._routes = [(one, {str(getattr(method, "value", method)) for method in one.binding["methods"]},
                         _pattern(one, prefix)) for one in app.of("httpTrigger")]
        self._events = {one.name.lower(): one for one in app.of("eventGridTrigger")}
        self._invoker = invoker
        self._limit = int(os.environ.get("FUNCTIONS_REQUEST_BODY_SIZE_LIMIT") or 100 * 1024 * 1024)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        try:
            response = self._answer(Request(environ))
        except Exception:  # malformed events or a bad length; a function's failure is answered below
            response = Response(status=400)
        return response(environ, start_response)

    def _answer(self, request: Request) -> Response:
        path = str(request.environ["RAW_URI"]).partition("?")[0]
        if path == "/_host/ready":
            return Response(json.dumps({"pid": os.getpid()}), mimetype="application/json")
        if path == "/runtime/webhooks/eventgrid":
            return self._event_grid(request)
        decoded = "/".join(unquote(part).replace("/", "%2F") for part in path.strip("/").split("/"))
        for declared, methods, pattern in self._routes:
            match = pattern.fullmatch(decoded)
            if match and request.method in methods:
                if (request.content_length or 0) > self._limit:
                    return Response(status=413)
                return self._call(declared, _request(request, path, match))
        return Response(status=404)

    def _call(self, declared: Declared, request: func.HttpRequest) -> Response:
        result = None
        try:
            result = self._invoker.start(declared, request).result()
            return _response(result)
        except BaseException as error:
            log.error("function=%s status=500 cause=%s result=%s, an HttpResponse is wanted", declared.name,
                      type(error).__name__, type(result).__name__)
            return Response(status=500)

    def _event_grid(self, request: Request) -> Response:
        declared = self._events.get(request.args.get("functionName", "").lower())
        if declared is None or request.method != "POST":
            return Response(status=404)
        events = json.loads(request.get_data())
        if events[0]["eventType"] == "Microsoft.EventGrid.SubscriptionValidationEvent":
            code = events[0]["data"]["validationCode"]
            return Response(json.dumps({"validationResponse": code}), mimetype="application/json")
        values = [Decoder.decode(Datum(json.dumps(one), "json"), trigger_metadata=None) for one in events]
        running = [self._invoker.start(declared, value) for value in values]
        return Response(status=500 if any([future.exception() for future in running]) else 202)


def _pattern(declared: Declared, prefix: str) -> re.Pattern[str]:
    """The route as an expression; an empty one means the function's name. The only constraint is `int`."""
    pattern, template = "", f"{prefix}/{declared.binding.get('route') or declared.name}"
    for segment in filter(None, template.split("/")):
        literal = re.escape(segment)
        body = ("/" if pattern else "") + _HOLE.sub(
            lambda hole: f"(?P<{hole[2]}>{'.*' if hole[1] else '-?[0-9]+' if hole[3] else '[^/]+?'})", literal)
        if re.search(r"\\[{}]", body):
            raise Refused(f"{declared.name}: route segment {segment} is not imitated here")
        whole = _HOLE.fullmatch(literal)
        pattern += f"(?:{body})?" if whole and (whole[1] or whole[4]) else body
    return re.compile(pattern, re.IGNORECASE)


def _request(request: Request, path: str, match: re.Match[str]) -> func.HttpRequest:
    query, raw_query = dict[str, str](), str(request.environ["QUERY_STRING"])
    for name, value in parse_qsl(raw_query):  # leaves out empty values
        first = next((known for known in query if known.lower() == name.lower()), name)
        query[first] = f"{query[first]},{value}" if first in query else value
    scheme = request.headers.get("X-Forwarded-Proto", request.scheme)
    host = request.headers.get("DISGUISED-HOST", request.headers.get("Host", ""))
    return func.HttpRequest(
        request.method, f"{scheme}://{host}{path}" + (f"?{raw_query}" if raw_query else ""),
        headers={name: value for name, value in request.headers.items() if value},
        params=query, route_params={name: value for name, value in match.groupdict().items() if value},
        body=b"" if "Transfer-Encoding" in request.headers else request.get_data())


def _response(result: func.HttpResponse) -> Response:
    parts = HttpResponseConverter.encode(result, expected_type=None).value
    response = Response(parts["body"].value, int(parts["status_code"].value))
    for name, datum in parts["headers"].items():
        response.headers[name] = datum.value
    for cookie in (cookie for jar in parts["cookies"] or () for cookie in jar.values()):
        response.headers.add("Set-Cookie", _cookie(cookie))
    return response


def _cookie(cookie: Morsel[str]) -> str:
    """As ASP.NET writes it: the value percent-encoded, domain and path there even when empty."""
    text = f"{cookie.key}={quote(cookie.value, safe='')}"
    if cookie["expires"]:
        time.strptime(cookie["expires"], "%a, %d %b %Y %H:%M:%S GMT")  # another form: ValueError, 500
        text += f"; expires={cookie['expires']}"
    if cookie["max-age"]:
        text += f"; max-age={int(float(cookie['max-age']))}"
    text += f"; domain={cookie['domain']}; path={cookie['path']}" + ("; secure" if cookie["secure"] else "")
    if cookie["samesite"].lower() in ("lax", "strict", "none"):
        text += f"; samesite={cookie['samesite'].lower()}"
    return text + ("; httponly" if cookie["httponly"] else "")
