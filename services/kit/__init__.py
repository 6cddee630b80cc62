"""What every process shares. It knows no trading word."""
