"""What tests and the demo do to the world from outside."""
