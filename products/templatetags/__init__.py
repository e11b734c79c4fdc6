"""Template tags of the products app."""
