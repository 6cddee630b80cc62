"""What a span of market time brought, read and answered."""
