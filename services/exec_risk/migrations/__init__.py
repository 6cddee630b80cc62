"""SQL of the schema `exec_risk`, applied in the order of the numbers."""
