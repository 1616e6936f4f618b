"""How topographic a trained channel grid is. Analyses never plot."""
