"""The algorithm: a training step, the state it updates, its optimizers and its devices."""
