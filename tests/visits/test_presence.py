"""The presence row: many writers, each with columns of their own; a raised generation revokes every link before it."""

from datetime import UTC, datetime

import pytest

from connector.errors import RefusedError
from connector.keys import JoinToken
from connector.visits.presence import STATUS, put_presence, read_presence
from sandbox.azurite import Azurite
from tests.running import Browser, Live
from tests.tenants.stamp import pinned, race

END = datetime(2026, 11, 23, 18, tzinfo=UTC)


def test_writers_keep_each_others_columns_and_every_write_shows(azurite: Azurite) -> None:
    _, scope = pinned(azurite)
    assert read_presence(scope, "aaaaaaaaa", "x").status() == dict.fromkeys(STATUS)
    tags = {read_presence(scope, "aaaaaaaaa", "x").etag}
    writes = [{"joined_at": "t"}, {"lobby": 0, "lobby_since": ""}, {"test": "ok"}, {"generation": 3}]
    race([lambda w=write: put_presence(scope, "aaaaaaaaa", "x", end=END, **w) for write in writes])
    seen = read_presence(scope, "aaaaaaaaa", "x")
    assert seen.generation == 3
    known = {name: value for name, value in seen.status().items() if value is not None}
    assert known == {"joined_at": "t", "lobby": 0, "test": "ok"}
    tags.add(seen.etag)
    put_presence(scope, "aaaaaaaaa", "x", end=END, lobby=0)
    tags.add(read_presence(scope, "aaaaaaaaa", "x").etag)
    assert len(tags) == 3


def test_only_links_of_the_present_generation_are_good(azurite: Azurite) -> None:
    _, scope = pinned(azurite)
    links = [JoinToken("aaaaaaaaa", "1", generation) for generation in range(3)]
    for good in range(3):
        put_presence(scope, "aaaaaaaaa", "z", end=END, generation=good)
        presence = read_presence(scope, "aaaaaaaaa", "z")
        for link in links:
            if link.generation == good:
                presence.require_current(link)
                continue
            with pytest.raises(RefusedError) as refused:
                presence.require_current(link)
            assert refused.value.code == "visit.wrong_link"


def test_a_revoked_link_opens_no_page(live: Live) -> None:
    appointment, browser = live.book("suri"), Browser(live)
    old, fresh = live.join_token(appointment), live.join_token(appointment, generation=1)
    visit = live.scope().index("visit", live.connection_id(), appointment)
    for path in "", "/stop":
        assert browser.get(f"/j/{old}{path}").status_code == 200
        assert browser.get(f"/j/{fresh}{path}").status_code == 404
    put_presence(live.scope(), live.connection_id(), visit, end=END, generation=1)
    for path in "", "/stop":
        assert browser.get(f"/j/{fresh}{path}").status_code == 200
        assert "This link does not work" in browser.get(f"/j/{old}{path}").text
    for path in "/join", "/stop":
        assert browser.post(f"/j/{old}{path}").status_code == 404
