"""Logits to parameters."""
