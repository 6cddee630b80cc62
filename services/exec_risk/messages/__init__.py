"""Facts of the core as the bus has them."""
