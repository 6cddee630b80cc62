"""Alerts: kept, stored, told through every channel, taken by people."""
