"""The fund level: the policy and what decides it. Pure."""
