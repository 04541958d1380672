"""Running the algorithm: loop, session, hooks, checkpoints and work directory."""
