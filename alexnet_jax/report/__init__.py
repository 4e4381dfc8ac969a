"""Figures and pages of what a run's files and `inference` hold; nothing here imports JAX."""
