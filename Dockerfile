# One image for every role: `docker run IMAGE worker`, `beat`, `sandbox`, `explain SUB CALENDAR EVENT`.
# What it needs of secrets comes in as files or environment variables; none is built in.

FROM python:3.13-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
RUN python -m venv --without-pip /opt/venv
COPY requirements.lock ./
RUN pip --python /opt/venv/bin/python install --require-hashes -r requirements.lock
# The one tool that building takes, in the version and with the hashes of the lock.
COPY requirements-dev.lock ./
RUN sed -n '/^setuptools==/,/[^\]$/p' requirements-dev.lock > build.lock \
 && pip install --require-hashes -r build.lock
COPY pyproject.toml README.md LICENSE ./
COPY config ./config
COPY worker ./worker
COPY tasks ./tasks
COPY sandbox ./sandbox
RUN pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
 && pip --python /opt/venv/bin/python install --no-deps dist/*.whl

FROM python:3.13-slim
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
