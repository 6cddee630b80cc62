"""The commands of `qt`, one file a subject."""
