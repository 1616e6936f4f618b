"""The claims and how they are judged."""
