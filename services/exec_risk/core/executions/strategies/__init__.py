"""Strategies: each says what an execution does next, and knows nothing of orders' outcomes."""
