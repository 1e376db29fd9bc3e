"""The pages where a user connects a service that their meetings need."""
