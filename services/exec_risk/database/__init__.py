"""Rows of the schema, written and read back."""
