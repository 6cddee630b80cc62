"""Messages on NATS JetStream."""
