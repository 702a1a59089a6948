"""Measurements of what the quality bars of the design state; each prints one JSON line."""
