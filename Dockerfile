# The server, or any other command: docker build -t twinspire . && docker run twinspire --help
#
# EXTRAS=cpu,redis serves `mlp` encoders without torch. To train, or to serve `rnn` and `gru` encoders:
# docker build --build-arg EXTRAS=cpu,redis,train,parquet -t twinspire .
ARG PYTHON=python:3.11.14-slim-trixie

FROM ${PYTHON} AS build
ARG EXTRAS=cpu,redis
WORKDIR /source
RUN python -m venv /opt/twinspire
# The dependencies first: they change less often than the code.
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY .ci/requirements.py .ci/requirements.py
RUN python .ci/requirements.py "${EXTRAS}" > requirements.txt \
    && /opt/twinspire/bin/pip install --no-cache-dir --constraint constraints.txt --requirement requirements.txt
COPY protos protos
COPY retrieval retrieval
COPY encoders encoders
COPY indexer indexer
COPY evaluation evaluation
COPY server server
COPY twinspire twinspire
RUN PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt \
    /opt/twinspire/bin/pip install --no-cache-dir --no-deps . \
    && /opt/twinspire/bin/pip uninstall --yes pip setuptools

FROM ${PYTHON}
LABEL org.opencontainers.image.title="twinspire" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --system --gid 10001 twinspire \
    && useradd --system --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin twinspire \
    && install --directory --owner=10001 --group=10001 --mode=0750 /data
COPY --from=build /opt/twinspire /opt/twinspire
ENV PATH=/opt/twinspire/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    TWINSPIRE_CACHE=/data/.cache
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 50051
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-m", "server.healthcheck", "127.0.0.1:50051"]
ENTRYPOINT ["twinspire", "--workspace", "/data"]
# On the container's own loopback: say `serve --host 0.0.0.0 --insecure` to be reached from outside of it.
CMD ["serve"]
