"""The month's meetings are spread over the organizer accounts, and no account makes more than Teams allows."""

from datetime import UTC, datetime

import pytest

from connector import clock
from connector.adapters.tables import Row, Write
from connector.errors import RefusedError
from connector.tenants import CONFIGURATION, TenantScope
from connector.visits import organizers
from sandbox.azurite import Azurite
from tests.tenants.stamp import pinned, race

POOL = ["aaaa", "bbbb", "cccc"]
VISIT = "0123456789abcdef"


@pytest.fixture
def scope(azurite: Azurite) -> TenantScope:
    return pinned(azurite)[1]


def used(scope: TenantScope, organizer: str, month: str, count: int) -> None:
    row = Row(scope.tenant_id, f"meetings.{month}.{organizer}", {"count": count})
    scope.tables.transact(CONFIGURATION, [Write("upsert", row)])


def test_the_least_used_of_this_month_is_chosen(scope: TenantScope) -> None:
    month = f"{clock.now():%Y%m}"
    used(scope, "aaaa", month, 7)
    used(scope, "bbbb", month, 3)
    used(scope, "cccc", month, 9)
    used(scope, "bbbb", "200001", 1999)
    assert organizers.least_used(scope, POOL, VISIT) == "bbbb"
    used(scope, "bbbb", month, organizers.PER_MONTH)
    assert organizers.least_used(scope, POOL, VISIT) == "aaaa"


def test_unused_ones_take_turns_by_visit(scope: TenantScope) -> None:
    assert {organizers.least_used(scope, POOL, f"0000000{n}") for n in range(6)} == set(POOL)


def test_a_pool_that_is_used_up_says_so(scope: TenantScope) -> None:
    for organizer in POOL:
        used(scope, organizer, f"{clock.now():%Y%m}", organizers.PER_MONTH)
    with pytest.raises(RefusedError) as refused:
        organizers.least_used(scope, POOL, VISIT)
    assert (refused.value.code, refused.value.status) == ("meeting.organizers_exhausted", 409)


def test_a_new_month_counts_anew_in_utc(scope: TenantScope) -> None:
    clock.install(lambda: datetime(2027, 3, 31, 23, 59, tzinfo=UTC))
    try:
        organizers.count(scope, "aaaa")
        assert organizers.counts(scope) == {"aaaa": 1}
        clock.install(lambda: datetime(2027, 4, 1, tzinfo=UTC))
        assert organizers.counts(scope) == {}
    finally:
        clock.install(None)


def test_four_at_once_are_four(scope: TenantScope) -> None:
    race([lambda: organizers.count(scope, "aaaa")] * 4)
    assert organizers.counts(scope) == {"aaaa": 4}
