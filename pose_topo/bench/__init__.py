"""Measure what each part of the pipeline costs on this machine (`make bench`). Times are printed, never asserted."""
