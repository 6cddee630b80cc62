"""Self-healing: which replica is to be healed how, and when hands are kept off."""
