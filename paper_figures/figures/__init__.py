"""The figures of the paper: each script defines some `PaperFigure`."""
