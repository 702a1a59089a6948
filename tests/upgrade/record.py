"""Records what a version leaves behind in the middle of a story: its rows, its hints, its hospital, its phones.

Run by hand in a checkout of that version, with the packages and node_modules of the present one:

    git worktree add --detach ../old VERSION && cd ../old && ln -s .../node_modules .
    .../.venv/bin/python .../tests/upgrade/record.py .../tests/upgrade/VERSION

What it writes is committed, and test_upgrade.py goes on with it. Addresses of vendors are without their ports of then:
`http://cerner.vendor`. Everything is the sandbox's: invented people, keys that production refuses.
"""

import json
import os
import re
import sys
import tempfile
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import azure.functions as func
from azure.core.exceptions import ResourceExistsError
from azure.data.tables import TableServiceClient
from azure.storage.queue import QueueClient

sys.path.insert(0, str(Path.cwd()))

from connector import clock, launch, messages, tenants
from connector.adapters.tables import Row, RowChanged, Write
from connector.ehr import EhrUser
from connector.messages import dispatch, ledger, optouts, send
from connector.messages.triggers import desk
from connector.regions import Region
from connector.tenants import Actor, ConnectionPatch
from connector.visits import meeting
from sandbox.cerner import appointments
from sandbox.supervisor import Sandbox
from tests.running import Live

HOSPITAL, REGION = "harbor", "americas"
ACTOR = Actor("0d4f7a91-6b2c-4e38-9f15-a7c3d8e20b61")


class Crash(BaseException):
    """The worker's process ends here."""


class Recording:
    def __init__(self, live: Live) -> None:
        self.live, self.world, self.services = live, live.world, live.services
        self.hospital = self.world.hospitals[HOSPITAL]
        self.scope, self.connection_id = live.scope(HOSPITAL), live.connection_id(HOSPITAL)
        self.storage = live.sandbox.environment[f"{REGION.upper()}_STORAGE"]
        made = func.FunctionApp()
        made.register_functions(messages.blueprint(lambda: self.services, [Region(REGION)]))
        self.functions = {str(f.get_function_name()): f.get_user_function() for f in made.get_functions()}
        for name in ("discover", "send"):
            with suppress(ResourceExistsError), self.queue(name) as queue:
                queue.create_queue()
        for row in list(self.scope.tables.query(ledger.TABLE, self.connection_id)):  # of the schedule the sandbox made
            self.scope.tables.transact(ledger.TABLE, [Write("delete", Row(row.partition, row.key))])
        self.resources = self.world.resources[self.hospital.ehr_tenant]
        for key in [key for key in self.resources if key[0] == "Appointment"]:
            del self.resources[key]

    @property
    def connection(self) -> Any:
        return tenants.connection(self.scope, self.connection_id).value

    def queue(self, name: str) -> QueueClient:
        return QueueClient.from_connection_string(self.storage, f"{name}-{REGION}")

    def hints(self, name: str) -> list[str]:
        with self.queue(name) as queue:
            taken = list(queue.receive_messages(messages_per_page=32))
            for one in taken:
                queue.delete_message(one)
        return [one.content for one in taken]

    def run(self, function: str, hint: str) -> None:
        self.functions[f"messages_{function}_{REGION}"](func.QueueMessage(id="1", body=hint.encode()))

    def scan(self) -> None:
        """Every window is due, whenever it was read last."""
        self.forward(6)
        with suppress(RowChanged):
            self.scope.tables.transact(ledger.TABLE, [Write("delete", Row(self.connection_id, "lease.discover"))])
        self.functions["messages_discover"](None)
        while hints := self.hints("discover"):
            for hint in hints:
                self.run("discover", hint)

    def deliver(self) -> None:
        dispatch.Dispatcher().run().release(self.scope, clock.now())
        for hint in self.hints("send"):
            self.run("send", hint)

    def forward(self, minutes: float) -> None:
        self.world.advance(timedelta(minutes=minutes))

    def book(self, patient: str, days: int, hour: int) -> str:
        start = (self.world.now() + timedelta(days=days)).replace(hour=hour, minute=0, second=0, microsecond=0)
        return appointments.book(self.world, HOSPITAL, patient, start=start)

    def move(self, appointment: str) -> None:
        start = datetime.fromisoformat(self.resources["Appointment", appointment]["start"]) + timedelta(hours=1)
        appointments.move(self.world, HOSPITAL, appointment, start)

    def change(self, **fields: Any) -> None:
        present = tenants.connection(self.scope, self.connection_id)
        tenants.change_connection(self.scope, self.connection_id, present.etag, ConnectionPatch(**fields), ACTOR)

    def story(self) -> dict[str, str]:
        """Names of what is left: appointments, and what else the test must find again."""
        loud = self.connection.messages.model_copy(update={"quiet_from": "00:00", "quiet_until": "00:00"})
        self.change(messages=loud)
        for _ in range(2):  # the silent baseline, of an empty schedule
            self.scan()
        told = {
            "kept": self.book("mira", 3, 15), "moved": self.book("odette", 2, 15),
            "cancelled": self.book("hollis", 2, 16), "stopped": self.book("suri", 4, 15),
            "met": self.book("rafael", 1, 15),
        }  # fmt: skip
        self.scan()
        self.deliver()
        assert len(self.world.outbox) == 5, self.world.outbox
        numbers = {p.key: p.mobile for p in self.hospital.patients}
        optouts.record(self.scope, self.connection.sender_id, numbers["suri"], out=True, via="link")
        reader = self.services.ehr.reader(self.scope, self.connection)
        found = reader.appointments_by_id([told["met"]]).items[0]
        made = meeting.provision(self.services, self.scope, self.connection, found)
        user, oid = EhrUser("https://authorization.test/ehr", "Practitioner/12990411"), self.hospital.users[0].oid
        launch.add_link(self.scope, self.connection_id, user, oid)

        planned = {"crashed": self.book("mira", 5, 14), "released": self.book("rafael", 5, 16),
                   "released too": self.book("odette", 5, 18)}  # fmt: skip
        appointments.cancel(self.world, HOSPITAL, told["cancelled"])
        self.scan()  # plans the new ones; the cancelled one waits for its second look
        opened = desk(self.services, self.scope, self.connection)
        assert opened is not None
        waiting = ledger.due_between(self.scope, self.connection_id, "d.", "d/")
        due = [m for m in waiting if m.due_key < f"d.{ledger.stamp(clock.now())}/"]
        assert len(due) == 3, [m.due_key for m in waiting]
        visit = meeting.visit_key(self.scope, self.connection_id, planned["crashed"])
        crashing = next(message for message in due if message.visit == visit)
        with patch.object(send, "_record", side_effect=Crash), suppress(Crash):
            send.send_range(opened, crashing.due_key, crashing.due_key)  # taken by ACS, and not recorded
        assert len(self.world.outbox) == 6
        for name in ("moved", "stopped"):
            self.move(told[name])
        self.functions["messages_discover"](None)
        dispatch.Dispatcher().run().release(self.scope, clock.now())
        token = re.search(r"/j/(\S+)", next(m.text for m in self.world.outbox if m.to == numbers["mira"]))
        assert token
        return told | planned | {"join": made.join_web_url, "issuer": user.issuer, "fhir_user": user.fhir_user,
                                 "oid": oid, "token": token[1], "connection": self.connection_id}  # fmt: skip

    def save(self, folder: Path, names: dict[str, str]) -> None:
        folder.mkdir(parents=True)
        service, count = TableServiceClient.from_connection_string(self.storage), 0
        for table in sorted(one.name for one in service.list_tables()):
            rows = [dict(row) for row in service.get_table_client(table).list_entities()]
            lines = [json.dumps([r.pop("PartitionKey"), r.pop("RowKey"), r]) for r in rows]
            (folder / f"{table}.jsonl").write_text(self.without_ports("".join(f"{line}\n" for line in lines)), "utf-8")
            count += len(rows)
        environment = self.live.sandbox.environment
        story = {
            "now": clock.now().isoformat(),
            "tenant": self.scope.tenant_id,
            "keys": {name: environment[name] for name in ("CONNECTOR_SEALING_KEYS", "CONNECTOR_WRAPPING_KEYS")},
            "names": names,
            "hints": {name: self.hints(name) for name in ("discover", "send")},
            "resources": [[*key, record] for key, record in self.resources.items()],
            "outbox": [asdict(message) for message in self.world.outbox],
        }
        text = self.without_ports(json.dumps(story, indent=1, default=str, sort_keys=True))
        (folder / "story.json").write_text(text + "\n", "utf-8")
        sys.stdout.write(f"{count} rows, hints {story['hints']}\n")

    def without_ports(self, text: str) -> str:
        for name, port in asdict(self.live.sandbox.ports).items():
            text = text.replace(f"127.0.0.1:{port}", f"{name}.vendor")
        return text


def main(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as work, Sandbox(Path(work) / "sandbox") as sandbox:
        live = Live(sandbox)
        os.environ["REQUESTS_CA_BUNDLE"] = live.ca
        sandbox.stop_app()
        clock.install(sandbox.world.now)
        recording = Recording(live)
        recording.save(folder, recording.story())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
