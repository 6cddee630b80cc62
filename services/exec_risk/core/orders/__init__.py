"""Orders: their making, their life, and what becomes of those the exchange refused."""
