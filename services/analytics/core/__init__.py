"""Decisions of analytics: pure, from events and times that are passed in."""
