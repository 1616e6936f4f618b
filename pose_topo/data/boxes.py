"""A person's box in a photograph -> the network's input, and the way back."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from pose_topo.config import Recipe
from pose_topo.data import crops, geometry
from pose_topo.errors import UsageError

Box = tuple[float, float, float, float]  # x, y of the top left corner, width, height; pixels
FARTHEST = 100_000  # pixels: beyond any photograph that OpenCV decodes
# Photograph pixels per input pixel from which on the photograph is area-averaged first, whatever the recipe says: a
# telephone's 12 megapixels are shrunk 20 times, far more than the photographs that `standard` is made for.
SHRINKS_MUCH = 4


def parse_box(text: str) -> Box:
    """ "x,y,w,h" in pixels.

    Raises:
        UsageError: not four numbers, an empty box, or one beyond any photograph.
    """
    try:
        x, y, w, h = (float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--box {text}: give x,y,w,h in pixels, as 100,50,300,400") from None
    if not all(math.isfinite(value) and abs(value) <= FARTHEST for value in (x, y, w, h)):
        raise UsageError(f"--box {text}: give numbers of at most {FARTHEST:,} pixels")
    if not (w > 0 and h > 0):
        raise UsageError(f"--box {text}: width and height must be positive")
    return x, y, w, h


def whole(photo: NDArray[np.uint8]) -> Box:
    """The box of a whole photograph (H, W, 3)."""
    return 0.0, 0.0, float(photo.shape[1]), float(photo.shape[0])


def touches(box: Box, photo: NDArray[np.uint8]) -> bool:
    """Whether a part of the box lies in the photograph (H, W, 3)."""
    x, y, w, h = box
    return x < photo.shape[1] and y < photo.shape[0] and x + w > 0 and y + h > 0


def network_input(photo: NDArray[np.uint8], box: Box, recipe: Recipe) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """The network's input (S, S, 3), RGB, and the affine (2, 3) from its pixels to the photograph's (H, W, 3; BGR).

    Framing "person": a square of side 1.25 x max(w, h) about the box's centre, as the standard recipe takes a
    detector's box (Xiao et al. 2018). Framing "squeeze": the box's part of the photograph, squeezed to a square.
    """
    if recipe.framing == "squeeze":
        return _squeezed(photo, box, recipe.input_size)
    x, y, w, h = box
    size, scale = recipe.input_size, max(w, h) / 200
    # person_to_photo moves MPII's body centre down by 15 * scale; a box has its centre where it is
    center = np.array([[x + w / 2, y + h / 2 - 15 * scale]])
    margin = (geometry.stored_size(size) - size) / 2
    affine = geometry.translate_input(geometry.person_to_photo(center, np.array([scale]), size), margin)[0]
    antialias = recipe.antialias or affine[0, 0] >= SHRINKS_MUCH
    return crops.warp_person(photo, affine, size, antialias), affine


def _squeezed(photo: NDArray[np.uint8], box: Box, size: int) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """As above; the box is rounded outwards to whole pixels and clipped to the photograph, which it must touch."""
    x, y, w, h = box
    left, top = max(0, math.floor(x)), max(0, math.floor(y))
    part = photo[top : math.ceil(y + h), left : math.ceil(x + w)]
    affine = geometry.squeeze_to_photo(np.array([[part.shape[1], part.shape[0]]]), size)[0]
    affine[:, 2] += left, top
    return crops.squeeze(part, size), affine
