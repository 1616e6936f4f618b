"""Code that figures, tables, claims and the report share."""
