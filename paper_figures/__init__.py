"""Figures, tables, claims and the report of the study, made from result files alone: nothing is trained or measured."""
