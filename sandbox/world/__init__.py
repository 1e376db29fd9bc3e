"""Cronofy's state and rules, without HTTP: accounts, events, conferences, notifications, faults."""
