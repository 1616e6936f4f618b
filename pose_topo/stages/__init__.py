"""The steps of the study: each opens a checkpoint or result files and writes result files."""
