"""The data and weights: fetched from where they are published, verified, and put in their places."""

from pose_topo.data.sources.catalog import LICENCE
from pose_topo.data.sources.download import TARGET_NAMES, download
from pose_topo.data.sources.fetch import Done
from pose_topo.data.sources.transfer import Policy
from pose_topo.data.sources.weights import cache_folder, fetch_weights, weights_path

__all__ = [
    "LICENCE",
    "TARGET_NAMES",
    "Done",
    "Policy",
    "cache_folder",
    "download",
    "fetch_weights",
    "weights_path",
]
