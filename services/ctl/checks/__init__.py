"""Looks at a running system and at the machine, and judges what was seen."""
