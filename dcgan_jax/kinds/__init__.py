"""Kinds of examples: how each is read, encoded, shown and written."""
