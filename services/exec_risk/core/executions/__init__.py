"""Executions: how a quantity is brought to the exchange by one or more orders."""
