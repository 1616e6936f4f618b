"""What each part of the chain costs on this machine: `make bench`. Ratios are of one run: machines are noisy.

Nothing here is a test: a time is printed, never asserted.
"""
