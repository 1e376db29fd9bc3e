"""A stand-in for Cronofy and a mailbox, for tests, the demo and anyone who builds against Cronofy.

§ refers to the sections of docs/cronofy-api.md.
"""
