"""Renders service accounts and Services of a cluster from the catalog."""

from __future__ import annotations

from typing import Any

from services.catalog import ports
from services.ctl.policy import GATEWAY
from services.ctl.render.cluster_names import APP, SETUP, called, workload

Resource = dict[str, Any]


def render() -> list[Resource]:
    """Return an account for each process, and what each is called by."""
    names = [workload(key) for key in called()]
    return [
        *(_account(name) for name in (*names, GATEWAY, SETUP)),
        *(_service(name, name) for name in names),
        # each replica, ready or not: through it, one that is not ready can say why
        *(_service(f"{name}-replicas", name, each=True) for name in names),
        _door(),
    ]


def _account(name: str) -> Resource:
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": name},
        "automountServiceAccountToken": False,
    }


def _service(name: str, pods: str, *, each: bool = False) -> Resource:
    every = {"clusterIP": "None", "publishNotReadyAddresses": True}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": {APP: pods}},
        "spec": {
            **(every if each else {}),
            "selector": {APP: pods},
            "ports": [
                {
                    "name": "grpc",
                    "port": ports.GRPC,
                    "targetPort": "grpc",
                    "appProtocol": "grpc",
                }
            ],
        },
    }


def _door() -> Resource:
    """The TLS door alone: the plain ones stay on the pod's loopback, for `kubectl port-forward`."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": GATEWAY, "labels": {APP: GATEWAY}},
        "spec": {
            "type": "LoadBalancer",
            "externalTrafficPolicy": "Local",
            "selector": {APP: GATEWAY},
            "ports": [
                {
                    "name": "tls",
                    "port": ports.INGRESS_TLS,
                    "targetPort": "tls",
                    "appProtocol": "tls",
                }
            ],
        },
    }
