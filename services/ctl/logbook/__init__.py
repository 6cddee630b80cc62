"""The logs of all processes of a home: read, chosen from, counted by cause."""
