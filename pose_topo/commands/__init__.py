"""The commands. Each parses its options, calls a function and prints.

Heavy imports are inside the commands, so that --help is fast.
"""
