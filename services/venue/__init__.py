"""The paper venue: an exchange that speaks Binance USDT-M futures and is the market's clock."""
