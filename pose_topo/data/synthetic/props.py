"""Things that people sit on, and things that stand before them."""

from __future__ import annotations

import cv2
import numpy as np

from pose_topo import joints as J
from pose_topo.data.synthetic.appearance import F, random_colour
from pose_topo.data.synthetic.figure import Figure
from pose_topo.data.synthetic.raster import Canvas, Light, tube

STRANGE = -1  # the owner of their pixels
NEAR = 1e5  # the depth of what stands before everybody


def paint_seat(rng: np.random.Generator, canvas: Canvas, figure: Figure, depth: float, light: Light) -> None:
    """Something to sit on, below the hips and behind the person."""
    x, y = (float(value) for value in figure.joints[J.PELVIS, :2])
    tall = figure.height
    colour = random_colour(rng)
    half = float(rng.uniform(0.1, 0.28)) * tall
    box = np.array(
        [
            [x - half, y + 0.02 * tall],
            [x + half, y + 0.02 * tall],
            [x + half, y + 0.3 * tall],
            [x - half, y + 0.3 * tall],
        ]
    )
    block(canvas, box, colour, depth, STRANGE)
    if rng.random() < 0.5:
        top = (x - 0.8 * half, y - 0.16 * tall, depth), (x + 0.8 * half, y - 0.16 * tall, depth)
        tube(canvas, *top, (0.07 * tall, 0.07 * tall), lambda *_: colour * F(0.8), light, STRANGE)


def block(canvas: Canvas, corners: np.ndarray, colour: np.ndarray, depth: float, owner: int) -> None:
    """A flat convex polygon, corners (n, 2) in pixels."""
    window = canvas.window(*corners.min(0), *corners.max(0))
    if window is None:
        return
    rows, columns = window
    mask = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.uint8)
    moved = np.rint((corners - (columns.start, rows.start)) * 16).astype(np.int32)
    cv2.fillConvexPoly(mask, moved, 1, cv2.LINE_8, 4)
    place = canvas.places(window, np.flatnonzero(mask))
    shade = canvas.grain.ravel()[place, None] * colour
    canvas.paint(place, np.ones(len(place), F), np.full(len(place), depth, F), shade, owner)


def paint_occluder(rng: np.random.Generator, canvas: Canvas, people: list[Figure], light: Light) -> None:
    """A board, a post, a ball or a bush before one person's limb; it stays clear of the head."""
    figure = people[int(rng.integers(len(people)))]
    joint = int(rng.choice([0, 1, 2, 3, 4, 5, 10, 11, 14, 15]))
    x, y = figure.joints[joint, :2] + rng.normal(0, 0.03 * figure.height, 2)
    size = float(rng.uniform(0.04, 0.12)) * figure.height
    colour, near, kind = random_colour(rng), NEAR, rng.integers(4)
    if kind == 0:
        square = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * rng.uniform(0.6, 1.5, (4, 2))
        block(canvas, np.array([x, y]) + size * square, colour, near, STRANGE)
    elif kind == 1:
        lean, up = float(rng.normal(0, 0.1)) * size, float(rng.uniform(0.5, 2.5)) * size
        ends = (x - lean, max(y - up, figure.head_box[3]), near), (x + lean, y + 400.0, near)
        tube(canvas, *ends, (0.3 * size, 0.3 * size), lambda *_: colour, light, STRANGE)
    elif kind == 2:
        tube(
            canvas,
            (x, y, near),
            (x + 1, y, near),
            (0.8 * size, 0.8 * size),
            lambda *_: colour,
            light,
            STRANGE,
        )
    else:
        for dx, dy, tilt in rng.standard_normal((14, 3)):
            root = (x + 0.7 * size * dx, y + 0.5 * size * dy, near)
            tip = (root[0] + 0.4 * size * tilt, root[1] - 0.5 * size, near)
            tint = colour * F(1 + 0.2 * tilt)
            tube(canvas, root, tip, (0.12 * size, 0.05 * size), lambda *_, tint=tint: tint, light, STRANGE)
