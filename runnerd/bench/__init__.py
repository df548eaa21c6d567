"""Measures a daemon of its own side by side with what else this host has: `runnerd bench` (bench/README.md).

It speaks to the daemon over the published protocols alone, so nothing here imports the daemon's parts.
"""
