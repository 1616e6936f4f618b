"""Measures of topography. They take arrays, not networks."""
