"""What `reconciler doctor` examines: one module for each concern, each finding a frozen value."""
