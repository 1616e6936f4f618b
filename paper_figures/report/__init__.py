"""The report: one page with verdicts, figures and tables."""
