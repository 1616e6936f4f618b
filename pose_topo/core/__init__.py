"""What every other part uses: errors, files, devices, provenance."""
