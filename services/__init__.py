"""Quantum Trader: one folder a process, and what the processes share."""
