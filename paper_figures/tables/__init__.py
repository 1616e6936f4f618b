"""The tables of the paper: each script defines some `PaperTable` or `GroupTable`."""
