"""Recipes, the training loop and its checkpoints. Import from the modules: `recipes` alone needs no torch."""
