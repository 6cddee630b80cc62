"""The names of the system, each written once: processes, ports, subjects, events."""
