"""Numbered SQL files of the schema `analytics`."""
