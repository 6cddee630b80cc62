"""Ports that people and dashboards know; all others are free ports chosen at start."""

INGRESS = 8080
INGRESS_TLS = 8443
PROMETHEUS = 9090
GRAFANA = 3000
JAEGER = 16686
NATS = 4222
POSTGRES = 5432
