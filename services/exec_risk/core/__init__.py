"""Every decision about orders, positions and risk. Pure."""
