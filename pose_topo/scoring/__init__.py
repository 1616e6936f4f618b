"""From heatmaps to joints, and from joints to PCKh. Nothing here opens a network."""
