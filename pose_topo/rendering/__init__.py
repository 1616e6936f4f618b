"""Render people with known joints, in a data folder of MPII's layout. The photographs are frozen as version 1.0.0."""
