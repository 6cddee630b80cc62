"""Runs the whole system on this machine: starts, watches, restarts and stops its processes."""
