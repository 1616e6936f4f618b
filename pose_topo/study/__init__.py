"""What the study consists of: joints, the lattice, the settings of a run, the protocols, a run's folder."""
