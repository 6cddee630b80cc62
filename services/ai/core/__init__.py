"""Pure: windows of candles and model outputs to predictions and signals."""
