"""Parameters to answers."""
