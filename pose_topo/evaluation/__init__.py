"""From heatmaps to joints in the photograph, and from joints to PCKh."""
