"""Apps that Azure would not load, or would run with something the local host does not imitate: it does not start."""

from pathlib import Path

import pytest

from tests.sandbox.host_process import Host

HEAD = """
import azure.functions as func
app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)
"""
ROUTE = "@app.route(route={route!r}, methods={methods!r})\ndef {name}(req): return func.HttpResponse()\n"


def route(route: str = "fine", methods: list[str] | None = None, name: str = "fine") -> str:
    return ROUTE.format(route=route, methods=["GET"] if methods is None else methods, name=name)


@pytest.mark.parametrize(("source", "reason"), [
    (route("admin/x"), "admin or runtime"),
    (route("Administration"), "admin or runtime"),
    (route("/runtime"), "admin or runtime"),
    (route(methods=[]), "name the HTTP methods"),
    (route(name="_private"), "no valid function name"),
    (route(name="host"), "no valid function name"),
    (route(name="f" * 129), "no valid function name"),
    (route("x/{id:guid}"), "not imitated"),
    (route() + route(), "unique"),
    (route() + "other = func.FunctionApp()", "exactly one FunctionApp"),
    (route().replace("methods=", "auth_level='function', methods="), "AuthLevel.ANONYMOUS"),
    ("@app.queue_output(arg_name='out', queue_name='q', connection='C')\n" + route(), "not imitated"),
    ("@app.retry(strategy='fixed_delay', max_retry_count='3', delay_interval='00:00:10')\n" + route(),
     "not imitated"),
    ("@app.blob_trigger(arg_name='b', path='p', connection='C')\ndef blob(b): ...\n" + route(), "not imitated"),
    ("@app.queue_trigger(arg_name='m', queue_name='q', connection='UNSET')\ndef queue(m): ...\n" + route(), "UNSET"),
    ("@app.timer_trigger(arg_name='t', schedule='* * * * *')\ndef timer(t): ...\n" + route(), "six NCRONTAB fields"),
    ("@app.timer_trigger(arg_name='t', schedule='0 * * * * *', run_on_startup=True)\ndef timer(t): ...\n" + route(),
     "run_on_startup"),
    ("raise ImportError('missing-library')", "missing-library"),
])
def test_it_is_refused_with_the_reason(tmp_path: Path, source: str, reason: str) -> None:
    (tmp_path / "broken_app.py").write_text(HEAD + source)
    (tmp_path / "host.json").write_text('{"extensions": {"queues": {"messageEncoding": "none"}}}')
    host = Host(tmp_path, "", app="broken_app", PYTHONPATH=str(tmp_path))
    assert host.run() == 78
    assert reason in host.log()


def test_queues_in_another_encoding_are_refused(tmp_path: Path) -> None:
    trigger = "@app.queue_trigger(arg_name='m', queue_name='q', connection='SAMPLE_STORAGE')\ndef queue(m): ...\n"
    (tmp_path / "broken_app.py").write_text(HEAD + trigger + route())
    (tmp_path / "host.json").write_text("{}")
    host = Host(tmp_path, "UseDevelopmentStorage=true", app="broken_app", PYTHONPATH=str(tmp_path))
    assert host.run() == 78
    assert "messageEncoding" in host.log()
