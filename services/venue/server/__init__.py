"""The venue's REST and WebSocket: Binance's words around the exchange."""
