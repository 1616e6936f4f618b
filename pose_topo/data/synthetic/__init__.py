"""A synthetic stand-in for MPII: rendered people with known joints in a folder of the same layout."""

from pose_topo.data.synthetic.dataset import MAT_NAME, VERSION, is_rendered, render_dataset, synthetic_size
from pose_topo.data.synthetic.matfile import ImageEntry, RectEntry, write_mpii_mat

__all__ = [
    "MAT_NAME",
    "VERSION",
    "ImageEntry",
    "RectEntry",
    "is_rendered",
    "render_dataset",
    "synthetic_size",
    "write_mpii_mat",
]
