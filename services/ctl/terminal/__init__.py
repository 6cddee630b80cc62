"""What `qt` shows: tables, lines and the live screen."""
