"""The claims of the artifact, and how they are judged."""
