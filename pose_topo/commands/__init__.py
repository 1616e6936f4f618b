"""The commands. Each parses its options, calls a function and prints; it imports heavy modules when it is called."""
