"""One term of leadership: from the lease to the last order sent."""
