"""Topographic human pose estimation on MPII: training, scoring, topography, figures."""

__version__ = "0.1.0"
