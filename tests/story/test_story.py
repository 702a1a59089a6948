"""The whole story in Chromium, for both hospitals: docs/architecture.md tells it in words."""

import pytest

from tests.story.conftest import Told


@pytest.mark.parametrize("hospital", ["harbor", "nordlys"])
def test_the_story(told: Told, hospital: str) -> None:
    told.tell(hospital)
