"""`python -m connector.operations [--group RESOURCE_GROUP] COMMAND`: docs/operations.md says when to use which.

With --group the settings are those of the stamp in that resource group, read with the Azure CLI; without, those of
the environment. Exit code 0: done, or well; 1: something is wrong, and it says what; 2: the command makes no sense.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from getpass import getpass
from pathlib import Path

from connector import bootstrap, logs, settings
from connector.errors import ConnectorError, RefusedError
from connector.operations import backup, doctor, erase, keys, ownership, stamp
from connector.operations.doctor import Finding
from connector.tenants import connections
from connector.visits import purge_sessions, purge_visits


def main(arguments: list[str] | None = None) -> int:
    chosen = _parser().parse_args(arguments)
    logs.protect()
    try:
        environment: Mapping[str, str] | None = stamp.environment(chosen.group) if chosen.group else None
        services = bootstrap.build(settings.load(environment))
    except settings.SettingsError as error:
        for fault in str(error).split("; "):
            _say(Finding(False, f"settings: {fault}", "Operator: docs/configuration.md.").line())
        return 1
    try:
        return int(chosen.run(services, chosen))
    except RefusedError as error:
        _say(f"WRONG {error.message}")
    except ConnectorError as error:
        _say(f"WRONG {error.code}: nothing, or a part, was done. Try again; only a restore begins with empty tables.")
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m connector.operations", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--group", help="resource group of the stamp")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Callable[..., int], what: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=what)
        made.set_defaults(run=run)
        return made

    examined = command("doctor", _doctor, "say what is wrong with the stamp, and who can fix it")
    examined.add_argument("--ca-bundle", help="certificates to trust, where a proxy looks into TLS")
    command("connections", _connections, "list tenants and connections")
    command("re-key", _rekey, "wrap everything under the newest wrapping key")
    command("purge", _purge, "delete now what the hourly purge deletes")
    for name, run, what in (
        ("backup", _backup, "write the tables to files"),
        ("restore", _restore, "put them back into empty tables; sending is held"),
    ):
        command(name, run, what).add_argument("folder", type=Path, help="one folder below it for each region")
    erased = command("erase", _erase, "delete every row of one visit; asks for the appointment id")
    erased.add_argument("connection")
    erased.add_argument("--although-live", action="store_true", help="although the next scan would find it again")
    owned = command("own-number", _own_number, "let only this tenant send from a number that you bought for it")
    owned.add_argument("number")
    owned.add_argument("tenant")
    command("delete-tenant", _delete_tenant, "delete every row of a tenant").add_argument("tenant")
    return parser


def _doctor(services: bootstrap.Services, chosen: argparse.Namespace) -> bool:
    well = True
    for finding in doctor.examine(services, ca_bundle=chosen.ca_bundle):
        _say(finding.line())
        well = well and finding.well
    return not well


def _connections(services: bootstrap.Services, chosen: argparse.Namespace) -> int:
    for scope in services.directory.every_scope():
        listed = "" if services.settings.listed_bases(scope.tenant_id) is not None else " not listed"
        _say(f"tenant {scope.tenant_id} {scope.region}{listed}")
        for found in connections(scope):
            sends = "sends" if found.value.may_send else "does not send"
            _say(f"  {found.value.id} {found.value.environment}, {sends}: {found.value.name}")
    return 0


def _rekey(services: bootstrap.Services, chosen: argparse.Namespace) -> bool:
    lost = 0
    for region, tables in services.storage.tables.items():
        counts = keys.rewrap(tables, services.settings.wrapping_keys)
        lost += counts["lost"]
        _say(f"{region}: {counts['newest']} values under the newest wrapping key, {counts['older']} under an older one")
    if lost:
        _say(f"WRONG {lost} values open with none of the keys: put back the key that was dropped")
    else:
        _say("Older wrapping keys may be dropped once every instance has been restarted.")
    return lost > 0


def _purge(services: bootstrap.Services, chosen: argparse.Namespace) -> int:
    for scope in services.directory.every_scope():
        purge_sessions(scope, scope.tenant_id)
        for found in connections(scope):
            visits, sessions = purge_visits(scope, found.value.id), purge_sessions(scope, found.value.id)
            _say(f"{found.value.id}: {visits} visits, {sessions} sessions")
    return 0


def _backup(services: bootstrap.Services, chosen: argparse.Namespace) -> int:
    for region, tables in services.storage.tables.items():
        counts = backup.backup(tables, chosen.folder / region)
        _say(f"{region}: {sum(counts.values())} rows of {len(counts)} tables")
    return 0


def _restore(services: bootstrap.Services, chosen: argparse.Namespace) -> int:
    for region, tables in services.storage.tables.items():
        counts = backup.restore(tables, chosen.folder / region)
        _say(f"{region}: {sum(counts.values())} rows of {len(counts)} tables. Every connection is held.")
    return 0


def _erase(services: bootstrap.Services, chosen: argparse.Namespace) -> int:
    appointment_id = _ask("Appointment id: ")
    count = erase.visit(services, chosen.connection, appointment_id, although_live=chosen.although_live)
    _say(f"{count} rows deleted" if count else "Nothing is stored of this visit: is the connection the right one?")
    return 0


def _own_number(services: bootstrap.Services, chosen: argparse.Namespace) -> bool:
    others = ownership.own_number(services, chosen.number, chosen.tenant.lower())
    for other in others:
        _say(f"WRONG tenant {other} has added this number before: its administrator has to remove it")
    if not others:
        _say("Nobody else has it, or can add it.")
    return bool(others)


def _delete_tenant(services: bootstrap.Services, chosen: argparse.Namespace) -> int:
    tenant_id = chosen.tenant.lower()
    _say(f"Deletes for ever: configuration, opt-outs, links of clinicians, visits and keys of {tenant_id}.")
    if _ask("Type the tenant id again: ").lower() != tenant_id:
        raise RefusedError("erase.not_confirmed", "That is another id. Nothing was deleted.")
    for table, count in sorted(erase.tenant(services, tenant_id).items()):
        _say(f"{table}: {count} rows deleted")
    return 0


def _ask(what: str) -> str:
    """Not shown, and in no history of commands."""
    return (getpass(what) if sys.stdin.isatty() else sys.stdin.readline()).strip()


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
