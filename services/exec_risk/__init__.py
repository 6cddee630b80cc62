"""The execution and risk service: turns signals into protected positions of one account."""
