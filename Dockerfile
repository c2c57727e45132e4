# The daemon and what it imports; no test tool, no embedded server.
FROM python:3.13-slim AS build
WORKDIR /src
RUN python -m venv /opt/ingestd
COPY requirements-run.lock ./
RUN /opt/ingestd/bin/pip install --no-cache-dir --require-hashes -r requirements-run.lock
COPY pyproject.toml README.md LICENSE ./
COPY ingestd ingestd
RUN /opt/ingestd/bin/pip install --no-cache-dir --no-deps --no-build-isolation . \
    && /opt/ingestd/bin/pip uninstall --yes setuptools pip

FROM python:3.13-slim
RUN useradd --system --uid 10001 --home-dir /nonexistent --no-create-home ingestd
COPY --from=build /opt/ingestd /opt/ingestd
ENV PATH=/opt/ingestd/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8480/healthz', timeout=4)"]
ENTRYPOINT ["ingestd"]
CMD ["run", "--config", "/etc/ingestd/ingestd.toml"]
