"""Render one image: background, people from far to near, things in front of them, camera effects, annotations."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.random import Generator

from pose_topo.rendering.annotation import ImageEntry, RectEntry, annotate
from pose_topo.rendering.appearance import F, hsv, random_colour, sample_look
from pose_topo.rendering.person import draw_figure
from pose_topo.rendering.poses import Figure, Skeleton, build_skeleton, place, sample_activity, sample_yaw
from pose_topo.rendering.raster import Canvas, Light, tube
from pose_topo.study import joints as J

# width, height and share
SIZES = (
    (640, 480, 0.3), (720, 480, 0.13), (800, 600, 0.12), (960, 540, 0.1), (1280, 720, 0.1), (640, 640, 0.05),
    (480, 640, 0.1), (540, 720, 0.06), (600, 800, 0.04),
)  # fmt: skip
LAYER = 4000.0  # depth between two people, in pixels: much more than the depth of a person
NEAR = 1e5  # depth of things in front of all people
FAR = -1e6  # depth of the painted background, behind all people
STRANGE = -1  # owner of the pixels of things
TEST_SHARE = 0.01
MANNERS = {"numbers": 0.5, "characters": 0.27, "head empty": 0.2, "absent": 0.03}


def render_scene(seed: int, index: int) -> tuple[np.ndarray, ImageEntry]:
    """Return image number `index` of a set, (H, W, 3) uint8 RGB, and its annotations. Nothing else determines them."""
    rng = np.random.default_rng([seed, index])
    shares = [share for *_, share in SIZES]
    width, height, _ = SIZES[int(rng.choice(len(SIZES), p=shares))]
    test = bool(rng.random() < TEST_SHARE)
    canvas = Canvas(paint_background(rng, width, height), _grain(rng, width, height), _light(rng))
    paint_distractors(rng, canvas)
    extras = _strangers(rng, canvas)
    count = 0 if test and rng.random() < 0.4 else _head_count(rng, width)
    people, activity, category = _crowd(rng, canvas, count)
    if people and rng.random() < 0.4:
        paint_occluder(rng, canvas, people)
    manner = str(rng.choice(list(MANNERS), p=list(MANNERS.values())))
    whole = bool(rng.random() < 0.08)
    rects = [annotate(rng, canvas, figure, k + 1, manner, whole) for k, figure in enumerate(people)]
    rects += extras
    name = f"{index:09d}.jpg"
    image = _develop(rng, canvas.colour)
    if test or not rects:
        bare = [RectEntry(scale=rect.scale, objpos=rect.objpos) for rect in rects if rect.scale is not None]
        return image, ImageEntry(name, bare, train=False)
    return image, ImageEntry(name, rects, True, activity, category, _act_id(activity), _apart(rects))


def _act_id(activity: str) -> int:
    """Return a number for the name of an activity, which is the same on every machine."""
    return sum((k + 1) * ord(letter) for k, letter in enumerate(activity)) % 1000


def _grain(rng: Generator, width: int, height: int) -> np.ndarray:
    low = (1 + 0.07 * rng.standard_normal((height // 6, width // 6))).astype(F)
    return cv2.resize(low, (width, height), interpolation=cv2.INTER_LINEAR)


def _light(rng: Generator) -> Light:
    x, y, z = rng.uniform(-0.8, 0.8), -rng.uniform(0.2, 1.0), rng.uniform(0.35, 1.0)
    norm = math.sqrt(x * x + y * y + z * z)
    return Light((x / norm, y / norm, z / norm), float(rng.uniform(0.55, 0.8)))


def _head_count(rng: Generator, width: int) -> int:
    count = int(rng.choice([1, 2, 3, 4], p=[0.36, 0.36, 0.19, 0.09]))
    return min(count, max(1, width // 210))


def _crowd(rng: Generator, canvas: Canvas, count: int) -> tuple[list[Figure], str, str]:
    """Paint `count` people side by side, the smaller (farther) first. Return them and the activity of the nearest."""
    width, height = canvas.size
    highest = min(500.0, (0.92 if count < 3 else 0.75) * height)
    heights = sorted(rng.uniform(220, max(highest, 240), count))
    slots = rng.permutation(count)
    people: list[Figure] = []
    activity = category = ""
    for k in range(count):
        angles, activity, category = sample_activity(rng)
        skeleton = build_skeleton(rng, angles, sample_yaw(rng))
        x = (slots[k] + 0.5) / count * width + rng.normal(0, 0.04) * width
        y = height * (0.5 + rng.normal(0, 0.07))
        figure = _fit(rng, skeleton, float(heights[k]), (x, y), canvas.size, LAYER * (k + 1))
        if activity == "sitting":
            paint_seat(rng, canvas, figure, LAYER * (k + 0.5))
        draw(rng, canvas, figure, k + 1)
        people.append(figure)
    return people, activity, category


def draw(rng: Generator, canvas: Canvas, figure: Figure, person: int) -> None:
    """Paint the figure, in clothes that contrast with what is behind it."""
    window = canvas.window(*figure.box)
    backdrop = canvas.colour[window][::8, ::8].mean((0, 1)) if window else np.zeros(3)
    draw_figure(canvas, figure, sample_look(rng, backdrop.astype(F)), person)


def _fit(
    rng: Generator, skeleton: Skeleton, height: float, spot: tuple[float, float], size: tuple[int, int], depth: float
) -> Figure:
    """Place the figure within the picture, or sometimes so that the edge of the picture cuts it."""
    distance = float(rng.uniform(3, 9))
    x1, y1, x2, y2 = place(skeleton, height, (0, 0), distance, 0).box
    width, tall = size
    margin = 0.03 * height
    x = min(max(spot[0], margin - x1), max(width - margin - x2, margin - x1))
    y = min(max(spot[1], margin - y1), max(tall - margin - y2, margin - y1))
    cut = rng.random()
    if cut < 0.14:  # the feet
        y = tall - y2 + float(rng.uniform(0.06, 0.3)) * (y2 - y1)
        y = max(y, 0.06 * height - y1)
    elif cut < 0.19:  # one side
        share = float(rng.uniform(0.08, 0.35)) * (x2 - x1)
        x = -x1 - share if rng.random() < 0.5 else width - x2 + share
    return place(skeleton, height, (x, y), distance, depth)


def _strangers(rng: Generator, canvas: Canvas) -> list[RectEntry]:
    """Paint people who are not labelled: small, often blurred. Some have a rect without most of its fields."""
    width, height = canvas.size
    rects: list[RectEntry] = []
    for _ in range(int(rng.choice(4, p=[0.62, 0.25, 0.1, 0.03]))):
        skeleton = build_skeleton(rng, sample_activity(rng)[0], sample_yaw(rng))
        tall = float(rng.uniform(0.14, 0.42)) * height
        spot = (float(rng.uniform(-0.02, 1.02)) * width, float(rng.uniform(0.3, 0.75)) * height)
        figure = place(skeleton, tall, spot, 8.0, -LAYER)
        draw(rng, canvas, figure, 1)
        x1, y1, x2, y2 = figure.box
        window = canvas.window(x1 - 0.1 * tall, y1 - 0.1 * tall, x2 + 0.1 * tall, y2 + 0.1 * tall)
        if window and rng.random() < 0.5:
            sharp = np.ascontiguousarray(canvas.colour[window])
            canvas.colour[window] = cv2.GaussianBlur(sharp, (0, 0), rng.uniform(0.8, 2.2))
        choice = rng.random()
        if choice < 0.15:
            left, top, right, bottom = (round(value) + 1 for value in figure.head_box)
            rects.append(RectEntry(head_box=(left, top, right, bottom)))
        elif choice < 0.4:
            rects.append(RectEntry(scale=tall / 200, objpos=(round(spot[0]) + 1, round(spot[1]) + 1)))
    canvas.owner[...] = 0  # from here on they are part of the background
    canvas.depth[...] = -np.inf
    return rects


def _apart(rects: list[RectEntry]) -> list[int]:
    """Return the 1-based numbers of the annotated rects whose centre is at least a body's width from all others."""
    numbers = []
    for k, rect in enumerate(rects):
        if rect.points is None or rect.objpos is None or rect.scale is None:
            continue
        others = [other.objpos for j, other in enumerate(rects) if j != k and other.objpos is not None]
        gap = 100 * rect.scale
        if all((rect.objpos[0] - x) ** 2 + (rect.objpos[1] - y) ** 2 > gap**2 for x, y in others):
            numbers.append(k + 1)
    return numbers


def _develop(rng: Generator, image: np.ndarray) -> np.ndarray:
    """Apply the effects of a camera: exposure, colour cast, softness and noise."""
    if rng.random() < 0.2:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 1.1))
    levels = np.arange(256)[:, None]
    gain = rng.uniform(0.8, 1.15) * rng.uniform(0.94, 1.06, 3)
    table = np.clip((levels - 128) * gain + 128 + rng.normal(0, 9), 0, 255)
    image = cv2.LUT(image, np.rint(table).astype(np.uint8)[:, None, :])
    if rng.random() < 0.7:
        height, width = image.shape[:2]
        tile = np.rint(rng.standard_normal((128, 131, 1), dtype=np.float32) * F(rng.uniform(1, 5)))
        # the noise is added and subtracted as bytes, because cv2 limits the result to 0..255
        up, down = (np.repeat(np.maximum(part, 0).astype(np.uint8), 3, axis=2) for part in (tile, -tile))
        times = (height // 128 + 1, width // 131 + 1, 1)
        image = cv2.add(image, np.tile(up, times)[:height, :width])
        image = cv2.subtract(image, np.tile(down, times)[:height, :width])
    return image


# ---- Things beside and in front of people.


def paint_seat(rng: Generator, canvas: Canvas, figure: Figure, depth: float) -> None:
    """Paint something to sit on, below the hips and behind the person."""
    x, y = (float(value) for value in figure.joints[J.PELVIS, :2])
    tall = figure.height
    colour = random_colour(rng)
    half = float(rng.uniform(0.1, 0.28)) * tall
    left, right, top, bottom = x - half, x + half, y + 0.02 * tall, y + 0.3 * tall
    block(canvas, np.array([[left, top], [right, top], [right, bottom], [left, bottom]]), colour, depth)
    if rng.random() < 0.5:
        back = (x - 0.8 * half, y - 0.16 * tall, depth), (x + 0.8 * half, y - 0.16 * tall, depth)
        tube(canvas, *back, (0.07 * tall, 0.07 * tall), colour * F(0.8), STRANGE)


def block(canvas: Canvas, corners: np.ndarray, colour: np.ndarray, depth: float) -> None:
    """Paint a flat convex polygon, corners (n, 2) in pixels. It is a thing, which no person owns."""
    window = canvas.window(*corners.min(0), *corners.max(0))
    if window is None:
        return
    rows, columns = window
    mask = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.uint8)
    moved = np.rint((corners - (columns.start, rows.start)) * 16).astype(np.int32)
    cv2.fillConvexPoly(mask, moved, 1, cv2.LINE_8, 4)
    place = canvas.places(window, np.flatnonzero(mask))
    shade = canvas.grain.ravel()[place, None] * colour
    canvas.paint(place, np.ones(len(place), F), np.full(len(place), depth, F), shade, STRANGE)


def paint_occluder(rng: Generator, canvas: Canvas, people: list[Figure]) -> None:
    """Paint a board, a post, a ball or a bush in front of a limb of one person, but not of the head."""
    figure = people[int(rng.integers(len(people)))]
    joint = int(rng.choice([0, 1, 2, 3, 4, 5, 10, 11, 14, 15]))
    x, y = figure.joints[joint, :2] + rng.normal(0, 0.03 * figure.height, 2)
    size = float(rng.uniform(0.04, 0.12)) * figure.height
    colour, kind = random_colour(rng), rng.integers(4)
    if kind == 0:
        square = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * rng.uniform(0.6, 1.5, (4, 2))
        block(canvas, np.array([x, y]) + size * square, colour, NEAR)
    elif kind == 1:
        lean, up = float(rng.normal(0, 0.1)) * size, float(rng.uniform(0.5, 2.5)) * size
        ends = (x - lean, max(y - up, figure.head_box[3]), NEAR), (x + lean, y + 400.0, NEAR)
        tube(canvas, *ends, (0.3 * size, 0.3 * size), colour, STRANGE)
    elif kind == 2:
        tube(canvas, (x, y, NEAR), (x + 1, y, NEAR), (0.8 * size, 0.8 * size), colour, STRANGE)
    else:
        for dx, dy, tilt in rng.standard_normal((14, 3)):
            root = (x + 0.7 * size * dx, y + 0.5 * size * dy, NEAR)
            tip = (root[0] + 0.4 * size * tilt, root[1] - 0.5 * size, NEAR)
            tube(canvas, root, tip, (0.12 * size, 0.05 * size), colour * F(1 + 0.2 * tilt), STRANGE)


# ---- The background.


def paint_background(rng: Generator, width: int, height: int) -> np.ndarray:
    """Return a background (height, width, 3) uint8 without people.

    Soft things are painted at half size and enlarged.
    """
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


def paint_distractors(rng: Generator, canvas: Canvas) -> None:
    """Paint sharp things that look like parts of people: poles, branches, limbs. They own no pixel."""
    width, height = canvas.size
    for _ in range(int(rng.integers(0, 5))):
        colour = _muted(rng, 0.3)
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        if rng.random() < 0.3:  # a pole
            radii, dx = (rng.uniform(3, 12),) * 2, rng.normal(0, 12)
            ends = (x, -20.0, FAR), (x + dx, y + 60, FAR)
        else:
            dx, dy = rng.normal(0, 0.09, 2) * width
            ends = (x, y, FAR), (x + dx, y + dy, FAR)
            radii = (rng.uniform(4, 16), rng.uniform(3, 13))
        tube(canvas, *ends, radii, colour, owner=0)


def _noise(rng: Generator, width: int, height: int, cell: int) -> np.ndarray:
    """Return smooth noise (height, width) of unit variance, with features of about `cell` pixels."""
    low = rng.standard_normal((height // cell + 2, width // cell + 2), dtype=np.float32)
    return cv2.resize(low, (width, height), interpolation=cv2.INTER_LINEAR)


def _muted(rng: Generator, amount: float = 0.5) -> np.ndarray:
    """Return a random colour, mixed with the grey of the same brightness."""
    colour = random_colour(rng)
    return colour * F(1 - amount) + colour.mean() * F(amount)


def _gradient(rng: Generator, width: int, height: int) -> np.ndarray:
    grid = rng.uniform(30, 225, (int(rng.integers(2, 5)), int(rng.integers(2, 6)), 3)).astype(F)
    grid = grid * F(0.3) + grid.mean(-1, keepdims=True) * F(0.5) + F(rng.uniform(0, 50))
    return cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)


def _floor(rng: Generator, image: np.ndarray) -> None:
    """Paint the ground below a horizon, sometimes with lines that run to a vanishing point."""
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


def _wall(rng: Generator, image: np.ndarray) -> None:
    """Paint bricks or tiles of random shades, with joints between them."""
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


def _plants(rng: Generator, image: np.ndarray) -> None:
    """Paint grass and leaves: many short strokes of similar greens."""
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


def _box(rng: Generator, image: np.ndarray) -> None:
    """Paint a piece of furniture: a front, a lighter top and a darker side."""
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


def _shape(rng: Generator, image: np.ndarray) -> None:
    """Paint a disc, a polygon or a slanted line."""
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
