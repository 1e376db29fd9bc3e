"""Cronofy's HTTP API over the world, and the pages that people open."""
