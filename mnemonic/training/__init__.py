"""Training: the recipe, the loop, and how a broken one goes on."""
