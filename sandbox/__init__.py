"""A stand-in for Cronofy, with a mailbox, for tests, the demo and anyone building against Cronofy.

§ refers to the sections of docs/cronofy-api.md.
"""
