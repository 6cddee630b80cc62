# One image for every process of our own: `qt run ai`, `qt run gateway`, `qt migrate`, ...
# No BuildKit is needed: no `RUN --mount`, no `COPY --chmod`, no here-documents.
FROM python:3.11-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/quantum
WORKDIR /app
# The packages are a layer of their own: a changed source file does not install them again.
COPY pyproject.toml ./
RUN python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" \
        > /tmp/requirements.txt \
    && /opt/quantum/bin/pip install --requirement /tmp/requirements.txt
COPY . .
RUN /opt/quantum/bin/pip install --no-deps --editable . \
    && /opt/quantum/bin/python -m compileall -q /opt/quantum/lib /app/services /app/protos/gen

FROM python:3.11-slim-bookworm AS runtime
# libgomp: what the gradient-boosting libraries link; its version comes with the base image's release
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 quantum \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin quantum \
    && mkdir --mode 0700 /var/lib/quantum \
    && chown 10001:10001 /var/lib/quantum
COPY --from=build /opt/quantum /opt/quantum
COPY --from=build /app /app
ENV PATH=/opt/quantum/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    GRPC_ADDRESS=0.0.0.0:50051 \
    METRICS_ADDRESS=0.0.0.0:9100 \
    QUANTUM_HOME=/var/lib/quantum
WORKDIR /app
# by number, so that Kubernetes can see that it is not root
USER 10001:10001
# Nothing below / is written but /tmp and /var/lib/quantum: run it with a read-only root file system.
VOLUME ["/var/lib/quantum"]
# 50051 gRPC, 9100 metrics
EXPOSE 50051 9100
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-m", "services.ctl.healthcheck"]
ENTRYPOINT ["qt"]
CMD ["--help"]
