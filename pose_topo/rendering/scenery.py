"""Things that people sit on, and things that stand before them."""

from __future__ import annotations

import cv2
import numpy as np

from pose_topo.rendering.appearance import F, hsv, random_colour
from pose_topo.rendering.poses import Figure
from pose_topo.rendering.raster import Canvas, Light, tube
from pose_topo.study import joints as J

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


# ---- Backgrounds: cheap clutter. Soft things are painted at half size and enlarged, sharp ones at full size.

FAR = -1e6  # the depth of painted scenery: everybody stands before it


def _noise(rng: np.random.Generator, width: int, height: int, cell: int) -> np.ndarray:
    """Smooth noise (height, width) of unit spread with features of about `cell` pixels."""
    low = rng.standard_normal((height // cell + 2, width // cell + 2), dtype=np.float32)
    return cv2.resize(low, (width, height), interpolation=cv2.INTER_LINEAR)


def _muted(rng: np.random.Generator, amount: float = 0.5) -> np.ndarray:
    """A colour pulled towards its own grey."""
    colour = random_colour(rng)
    return colour * F(1 - amount) + colour.mean() * F(amount)


def _gradient(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    grid = rng.uniform(30, 225, (int(rng.integers(2, 5)), int(rng.integers(2, 6)), 3)).astype(F)
    grid = grid * F(0.3) + grid.mean(-1, keepdims=True) * F(0.5) + F(rng.uniform(0, 50))
    return cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)


def _floor(rng: np.random.Generator, image: np.ndarray) -> None:
    """Ground below a horizon, sometimes with boards or court lines that run to a vanishing point."""
    height, width = image.shape[:2]
    top = int(height * rng.uniform(0.45, 0.85))
    colour = _muted(rng)
    ramp = np.linspace(0.75, 1.15, height - top, dtype=np.float32)[:, None, None]
    image[top:] = F(0.2) * image[top:] + F(0.8) * ramp * colour
    if rng.random() < 0.5:
        vanishing = (int(rng.uniform(0, width)), int(top - rng.uniform(20, 120)))
        line = [float(c) for c in colour * F(rng.choice([0.7, 1.3]))]
        ground = np.ascontiguousarray(image[top:])
        for x in range(-width, 2 * width, int(rng.uniform(30, 90))):
            cv2.line(ground, (vanishing[0], vanishing[1] - top), (x, height - top), line, int(rng.integers(1, 3)))
        image[top:] = ground


def _wall(rng: np.random.Generator, image: np.ndarray) -> None:
    """Bricks or tiles: one random shade each, with joints between them."""
    height, width = image.shape[:2]
    tall = int(rng.integers(7, 26))
    wide = int(tall * rng.choice([1, 2, 3]))
    rows, columns = height // tall + 2, width // wide + 3
    colour = _muted(rng, 0.4)
    shade = (1 + rng.uniform(0.03, 0.14) * rng.standard_normal((rows, columns))).astype(F)
    bricks = cv2.resize(shade, (columns * wide, rows * tall), interpolation=cv2.INTER_NEAREST)
    joint = F(rng.choice([0.7, 1.25]))
    bricks[::tall] = joint
    bricks[:, ::wide] = joint
    if wide > tall:  # a running bond
        for row in range(1, rows, 2):
            band = bricks[row * tall : (row + 1) * tall]
            bricks[row * tall : (row + 1) * tall] = np.roll(band, wide // 2, axis=1)
    bottom = height if rng.random() < 0.6 else int(height * rng.uniform(0.5, 0.9))
    left = 0 if rng.random() < 0.6 else int(width * rng.uniform(0, 0.5))
    patch = image[:bottom, left:]
    patch[...] = F(0.35) * patch + F(0.65) * colour * bricks[:bottom, : width - left, None]


def _plants(rng: np.random.Generator, image: np.ndarray) -> None:
    """Grass and leaves: many short strokes of neighbouring greens in a band or a clump."""
    height, width = image.shape[:2]
    count = int(rng.integers(80, 260))
    middle = np.array([rng.uniform(0, width), rng.uniform(0.2, 1) * height])
    extent = np.array([rng.uniform(0.15, 0.6) * width, rng.uniform(0.08, 0.25) * height])
    start = middle + extent * rng.standard_normal((count, 2))
    sway = rng.standard_normal((count, 2)) * rng.uniform(4, 16, 2)
    hue, value = rng.uniform(0.14, 0.42), rng.uniform(0.2, 0.65)
    tints = [[float(c) for c in hsv(hue, 0.5, value * f)] for f in (0.6, 0.85, 1.0, 1.25)]
    ends = np.rint(np.concatenate([start, start + sway], 1)).astype(int).tolist()
    for k, (x1, y1, x2, y2) in enumerate(ends):
        cv2.line(image, (x1, y1), (x2, y2), tints[k % 4], 1 + (k % 5 == 0))


def _box(rng: np.random.Generator, image: np.ndarray) -> None:
    """A piece of furniture: a front, a lighter top and a darker side."""
    height, width = image.shape[:2]
    x, y = rng.uniform(-0.1, 1) * width, rng.uniform(0, 1) * height
    w, h = rng.uniform(0.04, 0.25) * width, rng.uniform(0.06, 0.4) * height
    dx, dy = rng.uniform(-0.4, 0.4) * w, -rng.uniform(0.05, 0.3) * h
    colour = _muted(rng)
    near = x + w if dx > 0 else x
    faces = (
        (1.2, [(x, y), (x + w, y), (x + w + dx, y + dy), (x + dx, y + dy)]),
        (0.65, [(near, y), (near + dx, y + dy), (near + dx, y + dy + h), (near, y + h)]),
        (1.0, [(x, y), (x + w, y), (x + w, y + h), (x, y + h)]),
    )
    for shade, corners in faces:
        tint = [float(c) for c in np.clip(colour * F(shade), 0, 255)]
        cv2.fillConvexPoly(image, np.rint(np.array(corners)).astype(np.int32), tint)


def _shape(rng: np.random.Generator, image: np.ndarray) -> None:
    """A disc, a triangle or a slanted line."""
    height, width = image.shape[:2]
    x, y, size = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(5, 0.14 * width)
    tint = [float(c) for c in _muted(rng)]
    kind = rng.integers(3)
    if kind == 0:
        centre, axes = (int(x), int(y)), (int(size * 0.6), int(size * rng.uniform(0.2, 0.7)))
        cv2.ellipse(image, centre, axes, rng.uniform(0, 180), 0, 360, tint, -1)
    elif kind == 1:
        corners = np.array([x, y]) + 0.6 * size * rng.standard_normal((int(rng.integers(3, 6)), 2))
        cv2.fillPoly(image, [np.rint(corners).astype(np.int32)], tint)
    else:
        dx, dy = 0.25 * width * rng.standard_normal(2)
        cv2.line(image, (int(x), int(y)), (int(x + dx), int(y + dy)), tint, int(rng.integers(1, 5)))


def paint_background(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Scenery (height, width, 3) uint8 without anybody in it."""
    w, h = width // 2, height // 2
    image = np.ascontiguousarray(_gradient(rng, w, h))
    if rng.random() < 0.3:
        _wall(rng, image)
    if rng.random() < 0.55:
        _floor(rng, image)
    for _ in range(int(rng.choice(3, p=[0.45, 0.35, 0.2]))):
        _plants(rng, image)
    for _ in range(int(rng.integers(1, 6))):
        _box(rng, image)
    for _ in range(int(rng.integers(1, 6))):
        _shape(rng, image)
    strength = rng.uniform(1.5, 7, 3)
    noise = np.zeros((h, w), F)
    for cell, amount in zip((2, 6, 24), strength, strict=True):
        noise += F(amount) * _noise(rng, w, h, cell)
    image += noise[..., None]
    if rng.random() < 0.35:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.6, 2.5))
    small = np.minimum(np.maximum(image, F(0)), F(255)).astype(np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def paint_distractors(rng: np.random.Generator, canvas: Canvas, light: Light) -> None:
    """Sharp things that look like parts of people: poles, branches, loose limbs. They own no pixel."""
    width, height = canvas.size
    for _ in range(int(rng.integers(0, 5))):
        colour = _muted(rng, 0.3)
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        if rng.random() < 0.3:  # a pole
            radius, dx = rng.uniform(3, 12), rng.normal(0, 12)
            ends = (x, -20.0, FAR), (x + dx, y + 60, FAR)
            radii = (radius, radius)
        else:
            dx, dy = rng.normal(0, 0.09, 2) * width
            ends = (x, y, FAR), (x + dx, y + dy, FAR)
            radii = (rng.uniform(4, 16), rng.uniform(3, 13))
        tube(canvas, *ends, radii, lambda *_, colour=colour: colour, light, owner=0)
