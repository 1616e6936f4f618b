"""The two networks, the topographic layer and its losses."""
