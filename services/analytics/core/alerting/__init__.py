"""Alerts from their cause to their end: raised once, told once, resolved once."""
