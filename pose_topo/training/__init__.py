"""Train both networks with one loop."""
