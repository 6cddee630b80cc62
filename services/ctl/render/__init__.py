"""Renders configuration files from the one set of names and addresses."""
