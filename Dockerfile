# The Python that the tests run on. For builds that must not change with the tag, give a digest:
# docker build --build-arg PYTHON=python:3.11-slim-trixie@sha256:…
ARG PYTHON=python:3.11-slim-trixie

# Build: a wheel of stigmer, and a virtual environment with it and the exact versions of constraints.txt.
FROM ${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore
# 2020-01-01: the wheel's files bear this date, so that the same source gives the same wheel.
ENV SOURCE_DATE_EPOCH=1577836800
WORKDIR /src
COPY constraints.txt ./
RUN pip install --constraint constraints.txt --upgrade pip \
 && python -m venv --without-pip /opt/stigmer
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN pip wheel --no-deps --build-constraint constraints.txt --wheel-dir /dist . \
 && pip --python /opt/stigmer install --no-compile --constraint constraints.txt \
      "stigmer-server[uvloop] @ file://$(echo /dist/stigmer_server-*.whl)"
# Bytecode is compiled here because the root file system is read-only later; by hash, so that it bears no times.
RUN /opt/stigmer/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/stigmer/lib

# Run: the virtual environment and a user that owns the data directory, nothing else.
FROM ${PYTHON}
LABEL org.opencontainers.image.title="stigmer-server" \
      org.opencontainers.image.description="An agent control plane: the resources of AI agents, kept in SQLite and served over gRPC." \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 stigmer \
 && useradd --uid 10001 --gid stigmer --no-log-init --no-create-home --home-dir /var/lib/stigmer \
      --shell /usr/sbin/nologin stigmer \
 && install --directory --owner=stigmer --group=stigmer --mode=0700 /var/lib/stigmer
COPY --from=build /opt/stigmer /opt/stigmer
# Inside the container the server listens on every interface, because a published port arrives on the container's own
# address and never on its loopback. The published port is the boundary, so credentials may come to it in clear: publish
# it on the host's loopback alone (docker run --publish 127.0.0.1:7234:7234), as docker-compose.yml does, or turn TLS on.
# Callers need credentials: without STIGMER_TOKENS_FILE, or JWTs or client certificates, the server does not start.
# Set anything else by STIGMER_* variables rather than by flags: the health check reads the same ones. Metrics are served
# where STIGMER_METRICS=0.0.0.0:9464 asks for it.
ENV PATH=/opt/stigmer/bin:$PATH \
    STIGMER_LISTEN=0.0.0.0:7234 \
    STIGMER_INSECURE_ALLOW_PLAINTEXT=1 \
    STIGMER_DATA_DIR=/var/lib/stigmer \
    STIGMER_LOG_FORMAT=json
# By number, so that an orchestrator can see that it is not root.
USER 10001:10001
# A container that cannot start what it holds is not built.
RUN ["stigmer", "version"]
VOLUME /var/lib/stigmer
EXPOSE 7234
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 CMD ["stigmer", "health"]
ENTRYPOINT ["stigmer"]
CMD ["serve"]
