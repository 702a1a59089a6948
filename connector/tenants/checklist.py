"""What takes others days or weeks, with the dates that an administrator notes: nobody's API says how far Oracle is."""

from __future__ import annotations

from datetime import date
from typing import Literal

from pydantic import Field, model_validator

from connector.adapters.tables import Row, RowChanged, RowExists, Write
from connector.errors import RefusedError
from connector.tenants.audit import Actor, audit_write, stored
from connector.tenants.models import Model
from connector.tenants.scope import CONFIGURATION, TenantScope
from connector.tenants.store import Versioned, connection

ChecklistStep = Literal["records_entered", "oracle_review", "oracle_enabled", "test_visit"]
STEPS: tuple[ChecklistStep, ...] = ("records_entered", "oracle_review", "oracle_enabled", "test_visit")
"""In the order in which they are done."""


class Dates(Model):
    """When a step was begun, when it is hoped for, and when it was done."""

    begun_on: date | None = None
    expected_on: date | None = None
    done_on: date | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Dates:
        if self.begun_on and self.done_on and self.done_on < self.begun_on:
            raise ValueError("was done before it was begun")
        if self.begun_on and self.expected_on and self.expected_on < self.begun_on:
            raise ValueError("is expected before it was begun")
        return self


class Checklist(Model):
    steps: dict[ChecklistStep, Dates] = Field(default_factory=dict)


def checklist(scope: TenantScope, connection_id: str) -> Versioned[Checklist]:
    """Empty, with an empty ETag, until somebody notes a date. Raises RefusedError (404)."""
    connection(scope, connection_id)
    row = scope.tables.get(CONFIGURATION, scope.tenant_id, _key(connection_id))
    if row is None:
        return Versioned(Checklist(), "")
    return Versioned(Checklist.model_validate_json(row.text("body")), row.etag or "")


def set_checklist(
    scope: TenantScope, connection_id: str, etag: str, wanted: Checklist, actor: Actor
) -> Versioned[Checklist]:
    """Raises RefusedError: 404, 412 when somebody noted something since it was read under `etag`."""
    present = checklist(scope, connection_id)
    row = Row(scope.tenant_id, _key(connection_id), {"schema": 1, "body": stored(wanted)}, etag or None)
    audit = audit_write(scope, actor, "checklist.changed", connection_id, present.value, wanted)
    try:
        if present.etag != etag:
            raise RowChanged("storage.row_changed")
        scope.tables.transact(CONFIGURATION, [Write("update" if etag else "insert", row), audit])
    except (RowChanged, RowExists):
        raise RefusedError(
            "checklist.conflict",
            "Somebody noted dates since you opened this page. Nothing of yours was saved.",
            status=412,
            title="Changed meanwhile",
        ) from None
    return checklist(scope, connection_id)


def _key(connection_id: str) -> str:
    return f"checklist.{connection_id}"
