"""The report: one page for a reader."""
