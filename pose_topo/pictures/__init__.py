"""People and joints drawn on pictures."""
