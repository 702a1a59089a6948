"""The storage every other test stands on: real, apart per region, kept through a restart."""

from pathlib import Path

import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.data.tables import TableServiceClient

from sandbox.azurite import Azurite
from tests.sandbox.host_process import eventually


def test_accounts_are_apart_and_guarded_by_their_keys(azurite: Azurite) -> None:
    before = azurite.operations
    with TableServiceClient.from_connection_string(azurite.connection_string("americas")) as americas:
        table = americas.create_table("apart")
        table.create_entity({"PartitionKey": "p", "RowKey": "r", "value": "kept"})
    with TableServiceClient.from_connection_string(azurite.connection_string("emea")) as emea:
        with pytest.raises(ResourceNotFoundError):
            emea.get_table_client("apart").get_entity("p", "r")
    stolen = azurite.connection_string("emea").replace(azurite.keys["emea"], azurite.keys["americas"])
    with TableServiceClient.from_connection_string(stolen) as thief:
        with pytest.raises(HttpResponseError) as refused:
            thief.create_table("stolen")
    assert refused.value.status_code == 403
    eventually(lambda: azurite.operations >= before + 4)  # the access log is written behind the answers


def test_a_restart_keeps_the_data_the_ports_and_the_count(tmp_path: Path) -> None:
    with Azurite(tmp_path / "data") as storage, TableServiceClient.from_connection_string(
        storage.connection_string("apac")
    ) as apac:
        apac.create_table("restart").create_entity({"PartitionKey": "p", "RowKey": "r", "value": "kept"})
        eventually(lambda: storage.operations >= 2)
        served = storage.operations
        storage.stop()
        assert storage.pid is None
        storage.start()
        assert apac.get_table_client("restart").get_entity("p", "r")["value"] == "kept"
        eventually(lambda: storage.operations == served + 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "data.log"]
