"""Uses of a trained pair, one function and one command each."""
