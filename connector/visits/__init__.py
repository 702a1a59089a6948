"""Visits: find the appointment, make the meeting, the clinician's and the patient's pages."""

from connector.visits.actions import blueprint as actions_blueprint
from connector.visits.ahead import blueprint as ahead_blueprint
from connector.visits.board import blueprint as board_blueprint
from connector.visits.board_alone import blueprint as board_alone_blueprint
from connector.visits.clinician import blueprint as clinician_blueprint
from connector.visits.live import live_counts
from connector.visits.meeting import visit_key
from connector.visits.organizers import counts as meetings_of_month
from connector.visits.patient import blueprint as patient_blueprint
from connector.visits.patient_launch import blueprint as patient_launch_blueprint
from connector.visits.patient_test import blueprint as patient_test_blueprint
from connector.visits.retention import blueprint as retention_blueprint
from connector.visits.retention import erase_visit, purge_sessions, purge_visits, visit_over
from connector.visits.staff_door import blueprint as staff_door_blueprint
from connector.visits.webhooks import blueprint as webhooks_blueprint

__all__ = [
    "actions_blueprint",
    "ahead_blueprint",
    "board_alone_blueprint",
    "board_blueprint",
    "clinician_blueprint",
    "erase_visit",
    "live_counts",
    "meetings_of_month",
    "patient_blueprint",
    "patient_launch_blueprint",
    "patient_test_blueprint",
    "purge_sessions",
    "purge_visits",
    "retention_blueprint",
    "staff_door_blueprint",
    "visit_key",
    "visit_over",
    "webhooks_blueprint",
]
