"""What callers over gRPC are told, and what they ask of the leader."""
