"""Updates of parameters: the recipe, the loop, and what it needs to start, stop and resume."""
