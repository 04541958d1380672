"""Sources of uint8 examples, and the two feeders that turn them into batches."""
