"""Latents, and samples drawn from them."""
