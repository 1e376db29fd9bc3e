"""Cronofy's HTTP API on top of the world, and the pages for people."""
