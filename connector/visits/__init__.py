"""Visits: find the appointment, make the meeting, the clinician's and the patient's pages."""

from connector.visits.ahead import blueprint as ahead_blueprint
from connector.visits.clinician import blueprint as clinician_blueprint
from connector.visits.organizers import counts as meetings_of_month
from connector.visits.patient import blueprint as patient_blueprint
from connector.visits.patient_launch import blueprint as patient_launch_blueprint
from connector.visits.patient_test import blueprint as patient_test_blueprint
from connector.visits.retention import blueprint as retention_blueprint
from connector.visits.staff_door import blueprint as staff_door_blueprint
from connector.visits.webhooks import blueprint as webhooks_blueprint

__all__ = [
    "ahead_blueprint",
    "clinician_blueprint",
    "meetings_of_month",
    "patient_blueprint",
    "patient_launch_blueprint",
    "patient_test_blueprint",
    "retention_blueprint",
    "staff_door_blueprint",
    "webhooks_blueprint",
]
