"""One training loop for both networks."""
