"""Who changed what; earlier versions; the configuration as a file."""

from __future__ import annotations

from connector import tenants
from connector.portal.api.operations import Call, Registry, Unchecked
from connector.tenants import Change, ConfigurationFile, Connection, ImportResult, Page
from connector.tenants import Versioned as V

api = Registry()


@api.operation("GET", "/history", "Changes, newest first; kept for six years", query=("target",))
def history(call: Call) -> Page[Change]:
    return tenants.history(call.scope, call.query("target"), limit=call.limit, after=call.after)


@api.operation("POST", "/connections/{connection}/history/{change}/restore", "Make it again as it was after a change",
               if_match=True)  # fmt: skip
def history_restore(call: Call) -> V[Connection]:
    changed = tenants.restore(call.scope, call.connection_id, call.param("change"), call.etag, call.actor)
    return call.configured(changed)


@api.operation("GET", "/configuration", "Everything that is chosen, as a file without secrets")
def configuration(call: Call) -> V[ConfigurationFile]:
    return tenants.export(call.scope)


@api.operation("PUT", "/configuration", "Import such a file, or say what that would change", if_match=True,
               query=("dry_run",))  # fmt: skip
def configuration_import(call: Call, body: Unchecked[ConfigurationFile]) -> ImportResult:
    result, written = tenants.import_file(
        call.services.directory, call.scope, body.value, call.etag, call.actor, dry_run=call.flag("dry_run")
    )
    for one in written:
        call.configured(one)
    return result
