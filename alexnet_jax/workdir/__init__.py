"""The folder of a run: names, checkpoints, trained nets, metrics, lock."""
