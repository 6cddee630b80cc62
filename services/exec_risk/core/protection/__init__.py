"""Protection: the stop and the targets of each position, and its way out."""
