"""Pictures of people and their joints, and of the grid."""
