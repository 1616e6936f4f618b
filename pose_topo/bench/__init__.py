"""What each part of the chain costs on this machine: `make bench`. Times are printed, never asserted."""
