"""One image: scenery, people from far to near, things before them, the camera, and the annotations."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from pose_topo.rendering.annotation import ImageEntry, RectEntry, annotate
from pose_topo.rendering.appearance import F, sample_look
from pose_topo.rendering.person import draw_figure
from pose_topo.rendering.poses import Figure, Skeleton, build_skeleton, place, sample_activity, sample_yaw
from pose_topo.rendering.raster import Canvas, Light
from pose_topo.rendering.scenery import paint_background, paint_distractors, paint_occluder, paint_seat

# width, height and share
SIZES = (
    (640, 480, 0.3), (720, 480, 0.13), (800, 600, 0.12), (960, 540, 0.1), (1280, 720, 0.1), (640, 640, 0.05),
    (480, 640, 0.1), (540, 720, 0.06), (600, 800, 0.04),
)  # fmt: skip
LAYER = 4000.0  # depth between two people, in pixels: far more than any person's own
TEST_SHARE = 0.01
MANNERS = (("numbers", 0.5), ("characters", 0.27), ("head empty", 0.2), ("absent", 0.03))


@dataclass(frozen=True)
class Scene:
    """An image (H, W, 3) uint8 RGB with its annotations."""

    image: np.ndarray
    entry: ImageEntry


def render_scene(seed: int, index: int) -> Scene:
    """Image number `index` of the set with this seed; it depends on nothing else."""
    rng = np.random.default_rng([seed, index])
    shares = [share for *_, share in SIZES]
    width, height, _ = SIZES[int(rng.choice(len(SIZES), p=shares))]
    test = bool(rng.random() < TEST_SHARE)
    canvas = Canvas(paint_background(rng, width, height), _grain(rng, width, height))
    light = _light(rng)
    paint_distractors(rng, canvas, light)
    extras = _strangers(rng, canvas, light)
    count = 0 if test and rng.random() < 0.4 else _head_count(rng, width)
    people, activity, category = _crowd(rng, canvas, light, count)
    if people and rng.random() < 0.4:
        paint_occluder(rng, canvas, people, light)
    manner = str(rng.choice([name for name, _ in MANNERS], p=[share for _, share in MANNERS]))
    whole = bool(rng.random() < 0.08)
    rects = [annotate(rng, canvas, figure, k + 1, manner, whole) for k, figure in enumerate(people)]
    rects += extras
    name = f"{index:09d}.jpg"
    image = _develop(rng, canvas.colour)
    if test or not rects:
        bare = [RectEntry(scale=rect.scale, objpos=rect.objpos) for rect in rects if rect.scale is not None]
        return Scene(image, ImageEntry(name, bare, train=False))
    single = _apart(rects)
    return Scene(image, ImageEntry(name, rects, True, activity, category, _act_id(activity), single))


def _act_id(activity: str) -> int:
    """A number that stands for the activity's name, the same everywhere."""
    return sum((k + 1) * ord(letter) for k, letter in enumerate(activity)) % 1000


def _grain(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    low = (1 + 0.07 * rng.standard_normal((height // 6, width // 6))).astype(F)
    return cv2.resize(low, (width, height), interpolation=cv2.INTER_LINEAR)


def _light(rng: np.random.Generator) -> Light:
    x, y, z = rng.uniform(-0.8, 0.8), -rng.uniform(0.2, 1.0), rng.uniform(0.35, 1.0)
    norm = math.sqrt(x * x + y * y + z * z)
    return Light((x / norm, y / norm, z / norm), float(rng.uniform(0.55, 0.8)))


def _head_count(rng: np.random.Generator, width: int) -> int:
    count = int(rng.choice([1, 2, 3, 4], p=[0.36, 0.36, 0.19, 0.09]))
    return min(count, max(1, width // 210))


def _pose(rng: np.random.Generator) -> tuple[Skeleton, str]:
    angles, category = sample_activity(rng)
    return build_skeleton(rng, angles, sample_yaw(rng)), category


def _crowd(rng: np.random.Generator, canvas: Canvas, light: Light, count: int) -> tuple[list[Figure], str, str]:
    """Paint `count` people side by side, the smaller (farther) first; also the nearest one's activity."""
    width, height = canvas.size
    highest = min(500.0, (0.92 if count < 3 else 0.75) * height)
    heights = sorted(rng.uniform(220, max(highest, 240), count))
    slots = rng.permutation(count)
    people: list[Figure] = []
    activity = category = ""
    for k in range(count):
        skeleton, category = _pose(rng)
        activity = skeleton.activity
        spot = (
            (slots[k] + 0.5) / count * width + rng.normal(0, 0.04) * width,
            height * (0.5 + rng.normal(0, 0.07)),
        )
        figure = _fit(rng, skeleton, float(heights[k]), spot, canvas.size, LAYER * (k + 1))
        if activity == "sitting":
            paint_seat(rng, canvas, figure, LAYER * (k + 0.5), light)
        draw(rng, canvas, figure, light, k + 1)
        people.append(figure)
    return people, activity, category


def draw(rng: np.random.Generator, canvas: Canvas, figure: Figure, light: Light, person: int) -> None:
    """Dress the figure to be seen before what is behind it, and paint it."""
    window = canvas.window(*figure.box)
    backdrop = canvas.colour[window][::8, ::8].mean((0, 1)) if window else np.zeros(3)
    draw_figure(canvas, figure, sample_look(rng, backdrop.astype(F)), light, person)


def _fit(
    rng: np.random.Generator,
    skeleton: Skeleton,
    height: float,
    spot: tuple[float, float],
    size: tuple[int, int],
    depth: float,
) -> Figure:
    """Place the figure within the picture, or now and then so that the picture's edge cuts it."""
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


def _strangers(rng: np.random.Generator, canvas: Canvas, light: Light) -> list[RectEntry]:
    """People nobody labels: small, often blurred. Some have a rect that lacks most of its fields."""
    width, height = canvas.size
    rects: list[RectEntry] = []
    for _ in range(int(rng.choice(4, p=[0.62, 0.25, 0.1, 0.03]))):
        skeleton, _ = _pose(rng)
        tall = float(rng.uniform(0.14, 0.42)) * height
        spot = (float(rng.uniform(-0.02, 1.02)) * width, float(rng.uniform(0.3, 0.75)) * height)
        figure = place(skeleton, tall, spot, 8.0, -LAYER)
        draw(rng, canvas, figure, light, 1)
        x1, y1, x2, y2 = figure.box
        window = canvas.window(x1 - 0.1 * tall, y1 - 0.1 * tall, x2 + 0.1 * tall, y2 + 0.1 * tall)
        if window and rng.random() < 0.5:
            soft = cv2.GaussianBlur(np.ascontiguousarray(canvas.colour[window]), (0, 0), rng.uniform(0.8, 2.2))
            canvas.colour[window] = soft
        choice = rng.random()
        if choice < 0.15:
            left, top, right, bottom = (round(value) + 1 for value in figure.head_box)
            rects.append(RectEntry(head_box=(left, top, right, bottom)))
        elif choice < 0.4:
            rects.append(RectEntry(scale=tall / 200, objpos=(round(spot[0]) + 1, round(spot[1]) + 1)))
    canvas.owner[...] = 0  # they are scenery from here on
    canvas.depth[...] = -np.inf
    return rects


def _apart(rects: list[RectEntry]) -> list[int]:
    """1-based numbers of the annotated rects whose centre is at least a body's width from every other's."""
    numbers = []
    for k, rect in enumerate(rects):
        if rect.points is None or rect.objpos is None or rect.scale is None:
            continue
        others = [other.objpos for j, other in enumerate(rects) if j != k and other.objpos is not None]
        gap = 100 * rect.scale
        if all((rect.objpos[0] - x) ** 2 + (rect.objpos[1] - y) ** 2 > gap**2 for x, y in others):
            numbers.append(k + 1)
    return numbers


def _develop(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """What a camera does: exposure, colour cast, softness and noise."""
    if rng.random() < 0.2:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 1.1))
    levels = np.arange(256)[:, None]
    gain = rng.uniform(0.8, 1.15) * rng.uniform(0.94, 1.06, 3)
    table = np.clip((levels - 128) * gain + 128 + rng.normal(0, 9), 0, 255)
    image = cv2.LUT(image, np.rint(table).astype(np.uint8)[:, None, :])
    if rng.random() < 0.7:
        height, width = image.shape[:2]
        tile = np.rint(rng.standard_normal((128, 131, 1), dtype=np.float32) * F(rng.uniform(1, 5)))
        # what is added and what is taken away, as bytes: cv2 cuts to 0..255 by itself
        up, down = (np.repeat(np.maximum(part, 0).astype(np.uint8), 3, axis=2) for part in (tile, -tile))
        times = (height // 128 + 1, width // 131 + 1, 1)
        image = cv2.add(image, np.tile(up, times)[:height, :width])
        image = cv2.subtract(image, np.tile(down, times)[:height, :width])
    return image
