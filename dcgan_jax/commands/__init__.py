"""The commands, a file and a function of its arguments each. Flags are read and checked before JAX is imported."""
