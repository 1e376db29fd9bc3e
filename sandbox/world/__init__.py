"""Cronofy's state and rules, without any HTTP: accounts, events, conferences, notifications, faults."""
