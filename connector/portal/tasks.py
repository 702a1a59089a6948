"""What is still to be set up of a connection, in the order in which it makes sense."""

from __future__ import annotations

from dataclasses import dataclass

from connector.languages import N_
from connector.tenants import Checklist, Connection


@dataclass(frozen=True)
class Task:
    title: str
    about: str
    where: str
    """Path of the page on which it is done."""
    done: bool
    optional: bool = False


def tasks(connection: Connection, checklist: Checklist) -> list[Task]:
    """Titles and explanations are to be translated where they are shown."""
    page = f"/portal/connections/{connection.id}"
    noted = {step for step, dates in checklist.steps.items() if dates.done_on}
    return [
        Task(
            N_("Name the accounts that hold the meetings"),
            N_("Teams meetings are made in the name of accounts that you dedicate to it."),
            f"{page}/meetings",
            bool(connection.organizers),
        ),
        Task(
            N_("Choose the departments"),
            N_("Visits are looked for in the Cerner locations of your departments."),
            f"{page}/departments",
            bool(connection.departments),
        ),
        Task(
            N_("Say which appointments are video visits"),
            N_("Visits with one of Cerner's own video rooms are always recognised; others by their appointment type."),
            f"{page}/visits",
            bool(connection.video_visit_types),
            optional=True,
        ),
        Task(
            N_("Enter the integration records in Cerner"),
            N_("They tell Cerner which address a launch opens. Note the date when it is done."),
            "/portal/setup/finish",
            "records_entered" in noted,
        ),
        Task(
            N_("Link a phone number"),
            N_("Patients get their link by text message from it."),
            "/portal/setup/link",
            connection.sender_id is not None,
            optional=True,
        ),
        Task(
            N_("Switch messages on"),
            N_("From then on patients are texted about new visits."),
            f"/portal/messages/{connection.id}",
            connection.messages_enabled,
            optional=True,
        ),
    ]
