"""Backups of a whole system into one archive, and what gives them back."""
