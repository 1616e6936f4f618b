"""Rendered people with known joints, in a data folder of MPII's layout. Frozen as version 1.0.0."""
