"""The story of both hospitals; its steps and looks assert as tests do."""

import pytest

pytest.register_assert_rewrite("tests.story.pages", "tests.story.steps", "tests.story.leaks")
