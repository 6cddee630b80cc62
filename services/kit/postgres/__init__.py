"""State in PostgreSQL, and the facts that leave with it."""
