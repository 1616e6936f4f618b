"""Scoring: from heatmaps to joints, and from joints to PCKh. Nothing here loads a network."""
