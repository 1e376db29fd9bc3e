"""The checks of `reconciler doctor`, one module per concern."""
