"""The ai service: candles to signals."""
