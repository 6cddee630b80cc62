"""Spans of an account's steps."""
