"""The official SDKs, each making the same calls; see ``conformance.py``."""
