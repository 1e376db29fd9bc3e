"""Flower's Celery settings: our workers answer on an exchange named by RECONCILER_KEY_PREFIX."""

import os

control_exchange = os.environ.get("RECONCILER_KEY_PREFIX", "reconciler")
event_exchange = event_queue_prefix = f"{control_exchange}.events"
