"""How services are told to drain or to keep still, and who told them."""
