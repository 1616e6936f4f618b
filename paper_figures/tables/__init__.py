"""One script per table."""
