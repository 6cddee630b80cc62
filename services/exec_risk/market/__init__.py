"""Closed candles, published once."""
