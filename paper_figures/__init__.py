"""Every figure and table of the study, drawn from result files alone: nothing here trains, scores or measures."""

# in the order of the paper; each is a module with a `main`
FIGURES = (
    "schematic",
    "training_curves",
    "parcellation",
    "strength_maps",
    "neighbour_correlation",
    "moran",
    "correlation_distance",
    "coactivation",
    "tradeoff",
    "lesions",
    "overlays",
)
TABLES = ("table_pckh", "table_metrics", "table_topography", "table_losses")
GROUP_TABLES = ("table_seeds",)  # of group.json
