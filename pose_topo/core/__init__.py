"""Used by every other package: errors, files, devices, messages, provenance and the versions of result files."""
