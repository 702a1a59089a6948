"""A small app with one function for each thing the local host must treat as Azure does.

Triggers append what they were given to the file named by SAMPLE_TRACE, so that a test in another process can look.
"""

import json
import os
import time
from pathlib import Path
from typing import Any

import azure.functions as func

from connector import clock

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)
more = func.Blueprint()


def trace(**what: Any) -> None:
    with Path(os.environ["SAMPLE_TRACE"]).open("a") as file:
        file.write(json.dumps({"pid": os.getpid(), **what}) + "\n")


def answer(what: Any) -> func.HttpResponse:
    return func.HttpResponse(json.dumps(what), mimetype="application/json")


@app.route(route="items/{item}", methods=["GET"])
def b_any_item(req: func.HttpRequest) -> func.HttpResponse:
    return answer({"function": "b_any_item", "route": dict(req.route_params)})


@app.route(route="items/hidden", methods=["GET", "POST"])
def c_hidden(req: func.HttpRequest) -> func.HttpResponse:
    return answer({"function": "c_hidden"})


@app.route(route="items/{number:int}", methods=["GET"])
def a_numbers(req: func.HttpRequest) -> func.HttpResponse:
    return answer({"function": "a_numbers", "route": dict(req.route_params)})


@app.route(route="/", methods=["GET"])
def home(req: func.HttpRequest) -> func.HttpResponse:
    return answer({"function": "home"})


@more.route(route=".well-known/files/{*rest}", methods=["GET"])
def files(req: func.HttpRequest) -> func.HttpResponse:
    return answer({"function": "files", "route": dict(req.route_params)})


@more.route(route="echo", methods=["GET", "POST"])
async def echo(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    return answer({"function": context.function_name, "method": req.method, "url": req.url,
                   "params": dict(req.params), "headers": dict(req.headers), "body": req.get_body().decode()})


@more.route(route="answers/{kind}", methods=["GET"])
def answers(req: func.HttpRequest) -> Any:
    kind = req.route_params["kind"]
    if kind == "text":
        return "a string"
    if kind == "fails":
        raise ValueError("a secret text")
    response = func.HttpResponse("ok", status_code=302, headers={"Location": "/elsewhere", "X-Twice": "first"})
    response.headers.add("x-twice", "last")
    for cookie in ("plain=a==/+; Path=/; Max-Age=60; Secure; HttpOnly; SameSite=Lax", "short=1",
                   "framed=1; Path=/; Secure; Partitioned", "odd=1; Path=/; Priority=High"):
        response.headers.add("Set-Cookie", cookie)
    if kind == "expires":
        response.headers.add("Set-Cookie", "old=1; Expires=2026-01-01")
    return response


@more.route(route="slow", methods=["GET"])
def slow(req: func.HttpRequest) -> func.HttpResponse:
    trace(slow=True)
    time.sleep(float(req.params["seconds"]))
    return answer({"function": "slow"})


@more.timer_trigger(arg_name="timer", schedule="0 0 * * * *")
def hourly(timer: func.TimerRequest) -> None:
    trace(timer="hourly", past_due=timer.past_due, at=clock.now().isoformat())


@more.queue_trigger(arg_name="msg", queue_name="%SAMPLE_QUEUE%", connection="SAMPLE_STORAGE")
def work(msg: func.QueueMessage) -> None:
    body = msg.get_body().decode()
    trace(queue=body, count=msg.dequeue_count, id=msg.id, receipt=bool(msg.pop_receipt),
          kept_s=(msg.expiration_time - msg.insertion_time).total_seconds())
    if body == "never" or (body == "once" and msg.dequeue_count == 1):
        raise RuntimeError("a secret text")
    if body == "long":
        time.sleep(5)


@more.event_grid_trigger(arg_name="event")
def events(event: func.EventGridEvent) -> None:
    trace(event=event.event_type, data=event.get_json())
    if event.subject == "fails":
        raise RuntimeError("a secret text")


app.register_functions(more)
