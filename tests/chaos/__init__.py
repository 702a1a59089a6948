from datetime import timedelta

HASTY_LEASE = timedelta(seconds=25)
"""Of claims, in tests/chaos/hasty.py."""
