"""The embedded trace store: spans in by OTLP, kept for a while in SQLite, shown by `qt trace`."""
