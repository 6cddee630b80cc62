"""What is stored against what the exchange says."""
