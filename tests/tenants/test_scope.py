"""A tenant has one region for ever, and nobody reaches another tenant's or another region's rows."""

import pytest

from connector import tenants
from connector.adapters.tables import Row, Write
from connector.errors import PermanentError, RefusedError
from connector.keys import NotOpened
from connector.regions import Region
from connector.tenants import DIRECTORY
from sandbox.azurite import Azurite
from sandbox.stamp import fresh_key
from tests.tenants.stamp import KEYS, build, connected, pinned, race, tenant_id


def test_a_tenant_is_pinned_once_and_for_ever(azurite: Azurite) -> None:
    fresh = tenant_id()
    directory = build(azurite, fresh).directory
    assert directory.find(fresh) is None
    assert directory.pin(fresh, Region.EMEA).region is Region.EMEA
    assert directory.pin(fresh, Region.EMEA).region is Region.EMEA
    for again in directory, build(azurite, fresh).directory:
        with pytest.raises(RefusedError) as refused:
            again.pin(fresh, Region.AMERICAS)
        assert (refused.value.status, refused.value.code) == (409, "tenant.region_fixed")
        assert again.scope(fresh).region is Region.EMEA


def test_a_tenant_that_the_operator_did_not_list_gets_nothing(azurite: Azurite) -> None:
    fresh = tenant_id()
    with pytest.raises(RefusedError) as refused:
        build(azurite).directory.pin(fresh, Region.EMEA)
    assert refused.value.status == 403
    services, scope = pinned(azurite)
    made = connected(services, scope).value.id
    without = build(azurite).directory  # taken off the list later
    assert without.find(scope.tenant_id) is None
    assert without.scopes() == []
    for ask in lambda: without.scope(scope.tenant_id), lambda: without.scope_of_connection(made):
        with pytest.raises(RefusedError) as unknown:
            ask()
        assert unknown.value.status == 404


def test_a_region_that_the_stamp_does_not_serve_is_refused(azurite: Azurite) -> None:
    fresh = tenant_id()
    with pytest.raises(RefusedError) as refused:
        build(azurite, fresh, regions="americas,emea").directory.pin(fresh, Region.APAC)
    assert refused.value.status == 409
    build(azurite, fresh).directory.pin(fresh, Region.APAC)
    assert build(azurite, fresh, regions="americas,emea").directory.find(fresh) is None


@pytest.mark.parametrize("region", [Region.EMEA, Region.APAC])
def test_a_scope_refuses_every_other_region(azurite: Azurite, region: Region) -> None:
    services, scope = pinned(azurite)
    scope.require_region(Region.AMERICAS)
    with pytest.raises(PermanentError):
        scope.require_region(region)
    # a row that should never be there: a connection of another region that names this tenant
    astray = region.letter + "zzzzzzzz"
    services.storage.tables[region].insert(
        DIRECTORY, Row("connection", astray, {"tenant_id": scope.tenant_id})
    )
    try:
        with pytest.raises(PermanentError):
            services.directory.scope_of_connection(astray)
    finally:
        services.storage.tables[region].transact(DIRECTORY, [Write("delete", Row("connection", astray))])


def test_another_tenants_connection_does_not_exist(azurite: Azurite) -> None:
    ours, theirs = tenant_id(), tenant_id()
    services = build(azurite, ours, theirs)
    mine, other = (services.directory.pin(one, Region.AMERICAS) for one in (ours, theirs))
    made = connected(services, other)
    assert tenants.connection(other, made.value.id).value.id == made.value.id
    with pytest.raises(RefusedError) as refused:
        tenants.connection(mine, made.value.id)
    assert refused.value.status == 404
    assert tenants.connections(mine) == []
    assert services.directory.scope_of_connection(made.value.id).tenant_id == theirs


@pytest.mark.parametrize("name", ["", "a", "x2222222", "azzzzzzzz", "a'or'1'eq", "a/../b", "a#b", "a?b", "a\\b", "a\0b",
                                  "aé", "A2222222", "a" * 2000, "a\ud800"])
def test_a_connection_that_is_none_is_not_found(azurite: Azurite, name: str) -> None:
    services, _ = pinned(azurite)
    with pytest.raises(RefusedError) as refused:
        services.directory.scope_of_connection(name)
    assert refused.value.status == 404


def test_of_eight_who_pin_at_once_one_region_wins(azurite: Azurite) -> None:
    fresh, regions = tenant_id(), list(Region) * 3
    workers = [build(azurite, fresh).directory for _ in range(8)]
    pairs = list(zip(workers, regions, strict=False))
    outcomes = race([lambda d=worker, r=region: d.pin(fresh, r) for worker, region in pairs])
    winner = build(azurite, fresh).directory.scope(fresh).region
    for region, outcome in zip(regions, outcomes, strict=False):
        if region is winner:
            assert getattr(outcome, "region", None) is winner
        else:
            assert isinstance(outcome, RefusedError) and outcome.status == 409


def test_index_keys_differ_by_tenant_and_purpose_and_are_the_same_for_all_workers(azurite: Azurite) -> None:
    ours, theirs = tenant_id(), tenant_id()
    build(azurite, ours, theirs).directory.pin(ours, Region.EMEA)
    build(azurite, ours, theirs).directory.pin(theirs, Region.EMEA)
    workers = [build(azurite, ours, theirs).directory for _ in range(8)]
    names = race([lambda d=worker: d.scope(ours).index("visit", "51502301") for worker in workers])
    assert len(set(names)) == 1
    scope = workers[0].scope(ours)
    others = {scope.index("meeting", "51502301"), workers[0].scope(theirs).index("visit", "51502301")}
    assert len({*names, *others}) == 3


def test_index_keys_survive_a_rotation_and_are_lost_without_their_wrapping_key(azurite: Azurite) -> None:
    _, scope = pinned(azurite)
    name = scope.index("visit", "1")
    fresh = fresh_key("sandbox-k2")
    rotated = build(azurite, scope.tenant_id, CONNECTOR_WRAPPING_KEYS=f"{fresh},{KEYS['CONNECTOR_WRAPPING_KEYS']}")
    assert rotated.directory.scope(scope.tenant_id).index("visit", "1") == name
    without = build(azurite, scope.tenant_id, CONNECTOR_WRAPPING_KEYS=fresh)
    with pytest.raises(NotOpened):
        without.directory.scope(scope.tenant_id).index("visit", "1")
