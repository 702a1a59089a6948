from tests.messages.conftest import published as published
from tests.messages.conftest import vendors as vendors
