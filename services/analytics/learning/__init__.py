"""The shell around the learning core: candles in, samples and decisions into PostgreSQL."""
