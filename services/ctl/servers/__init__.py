"""The real servers from their wheels: how each is started, asked and stopped."""
