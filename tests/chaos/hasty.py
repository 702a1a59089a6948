"""The app with claims and scans that last a third of their time, so that a test need not wait for those of dead
workers; nothing else differs.

A worker begins no attempt in the last ten seconds of its claim, and none takes longer with the sandbox's patience.
"""

from datetime import timedelta

from connector.messages import lease, ledger, send
from tests.chaos import HASTY_LEASE

ledger.LEASE, send.WORK = HASTY_LEASE, HASTY_LEASE - timedelta(seconds=10)
lease.LASTS, lease.RENEWED_AFTER = HASTY_LEASE, timedelta(seconds=5)

from function_app import app  # noqa: E402

__all__ = ["app"]
