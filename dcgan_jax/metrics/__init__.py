"""Features in, numbers out; shares no code with training."""
