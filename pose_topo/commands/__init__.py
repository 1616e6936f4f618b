"""The commands: parse, call, print. Heavy imports happen inside them, so that --help answers at once."""
