"""The ledger in PostgreSQL: partitions, projections, checks, archive, rebuild."""
