"""The exchange client: Binance USDT-M futures, or the paper venue that speaks like it."""
