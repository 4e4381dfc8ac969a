"""Configs: their files, schema, resolution, what may differ on resuming, and JSON."""
