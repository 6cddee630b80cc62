"""Ports that people know; a service's own is in `processes`, all others are free ones."""

INGRESS = 8080
TLS_INGRESS = 8443
