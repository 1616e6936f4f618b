"""Fetch the data sets and the weights, verify them, and put them in place."""
