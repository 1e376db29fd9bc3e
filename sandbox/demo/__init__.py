"""`reconciler demo`."""
