"""Annotated people and photographs made up for these tests."""

from pathlib import Path

import cv2
import numpy as np

from pose_topo.data.people import People
from pose_topo.rendering.annotation import RectEntry

# 1-based, in the order of the official file
IDS = (6, 7, 8, 9, 0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15)


def points(x: float = 300, y: float = 200, visible: object = 1) -> list:
    """16 points; joint k lies at (x + 10 k, y + 5 k), 1-based."""
    return [(x + 10 * k, y + 5 * k, k, visible) for k in IDS]


def rect(x: float = 300, y: float = 200, **changes) -> RectEntry:
    """A person as the file has them, with some fields changed."""
    fields = {"head_box": (x, y, x + 30, y + 40), "points": points(x, y), "scale": 2.5, "objpos": (x + 70, y + 50)}
    return RectEntry(**{**fields, **changes})


def make_people(
    count: int, *, width: int = 640, height: int = 480, per_image: int = 1, seed: int = 0, scale: float = 1.5
) -> People:
    """People with all joints labelled near their centres, `per_image` to a photograph."""
    rng = np.random.default_rng(seed)
    center = rng.uniform([0, 0], [width, height], (count, 2))
    scales = scale * rng.uniform(0.5, 2.0, count)
    image = np.arange(count) // per_image
    names = tuple(f"{i:05d}.jpg" for i in range(image[-1] + 1))
    joints = center[:, None] + rng.normal(0, 40, (count, 16, 2)) * scales[:, None, None]
    return People(
        images=names,
        image=image,
        annolist_index=image * 2 + 1,
        person=np.arange(count) % per_image,
        rects_in_image=np.full(count, per_image),
        joints=joints,
        labelled=np.ones((count, 16), bool),
        visible=np.ones((count, 16), bool),
        center=center,
        scale=scales,
        head_box=np.concatenate([joints[:, 9] - 15, joints[:, 9] + 15], axis=1),
    )


def picture(seed: int, width: int = 640, height: int = 480) -> np.ndarray:
    """A photograph's worth of smooth colours (height, width, 3)."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8)
    large = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC).astype(int)
    return np.clip(large + rng.integers(-12, 13, (height, width, 1)), 0, 255).astype(np.uint8)


def write_photographs(folder: Path, people: People, width: int = 640, height: int = 480) -> Path:
    """A JPEG for every image of the people."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(people.images):
        cv2.imwrite(str(folder / name), picture(number, width, height))
    return folder
