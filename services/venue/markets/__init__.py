"""Where prices come from: generated, recorded or live."""
