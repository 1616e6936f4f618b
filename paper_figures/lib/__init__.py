"""What the figures and tables share."""
