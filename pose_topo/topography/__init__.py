"""How topographic a channel grid is: measures of arrays. Nothing here opens a network."""
