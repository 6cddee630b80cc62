"""The matching engine: orders and a market's path in, fills and account changes out. Pure."""
