"""Ports that people know; a service's own is in `processes`, all others are free ones."""

INGRESS = 8080
INGRESS_TLS = 8443
PROMETHEUS = 9090
GRAFANA = 3000
JAEGER = 16686

GRPC = 50051
"""In a container: where a replica is called, by its sidecar's mTLS listener or by itself."""
METRICS = 9100
"""In a container: `/metrics` of a process of our own."""
PROXY_STATS = 9102
"""In a container: `/stats/prometheus` of the proxy beside it."""
VENUE_HTTP = 8090
NATS = 4222
NATS_ROUTES = 6222
NATS_MONITOR = 8222
POSTGRES = 5432
OTLP = 4317
"""OTLP over gRPC of the collector of traces."""
