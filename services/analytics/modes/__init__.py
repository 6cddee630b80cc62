"""Drain and maintenance of whole services."""
