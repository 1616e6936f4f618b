"""A trained network on anybody's photographs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from pose_topo import joints, plots
from pose_topo.config import Recipe
from pose_topo.data import crops, geometry
from pose_topo.data.batches import IMAGENET_MEAN, IMAGENET_SD
from pose_topo.devices import pick_precision
from pose_topo.errors import PoseTopoError, UsageError
from pose_topo.evaluation.checkpoints import open_checkpoint
from pose_topo.evaluation.decoding import decode
from pose_topo.evaluation.inference import heatmaps
from pose_topo.files import write_json

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
Box = tuple[float, float, float, float]


def parse_box(text: str) -> Box:
    """ "x,y,w,h" in pixels.

    Raises:
        UsageError: not four numbers, or an empty box.
    """
    try:
        x, y, w, h = (float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--box {text}: give x,y,w,h in pixels") from None
    if not (w > 0 and h > 0 and np.isfinite([x, y, w, h]).all()):
        raise UsageError(f"--box {text}: width and height must be positive")
    return x, y, w, h


def predict_photographs(
    checkpoint: Path,
    paths: list[Path],
    out: Path,
    *,
    box: Box | None = None,
    device: str = "auto",
    precision: str = "auto",
    say: Callable[[str], None] = print,
) -> int:
    """Write an overlay for each photograph and `keypoints.json`; returns how many photographs were read.

    An unreadable photograph is named and skipped.

    Raises:
        PoseTopoError: no such checkpoint, or no readable photograph.
    """
    opened = open_checkpoint(checkpoint, device, say)
    model, recipe, where = opened.model, opened.config.recipe, opened.device
    found: list[dict[str, Any]] = []
    files = list(_photographs(paths))
    for name, path in tqdm(files, desc="predict", unit="photo", disable=len(files) < 3):
        photo = _read(path)
        if photo is None:
            say(f"warning: {path} is unreadable and skipped")
            continue
        chosen = box or (0.0, 0.0, float(photo.shape[1]), float(photo.shape[0]))
        points, sure = _joints_of(model, photo, chosen, recipe, where, pick_precision(precision, where))
        plots.write_picture(out / f"{name}.overlay.png", plots.draw_skeleton(photo[..., ::-1], points))
        found.append(_record(path.name, points, sure, chosen))
    if not found:
        raise PoseTopoError(f"no readable photograph among {', '.join(map(str, paths))}")
    write_json(out / "keypoints.json", {"keypoints": list(joints.NAMES), "annotations": found})
    return len(found)


def _photographs(paths: list[Path]) -> Iterator[tuple[str, Path]]:
    """Output names and files; equal names in different folders are numbered."""
    seen: dict[str, int] = {}
    for path in paths:
        inside = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES) if path.is_dir() else [path]
        for file in inside:
            number = seen[file.stem] = seen.get(file.stem, 0) + 1
            yield (file.stem if number == 1 else f"{file.stem}-{number}"), file


def _read(path: Path) -> NDArray[np.uint8] | None:
    """A picture as BGR, turned as its EXIF says (photographs of a data set are not: their annotations know no EXIF)."""
    return cv2.imread(str(path), cv2.IMREAD_COLOR)  # type: ignore[return-value]


def _joints_of(
    model: torch.nn.Module, photo: NDArray[np.uint8], box: Box, recipe: Recipe, device: torch.device, precision: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Joints (16, 2) in pixels of the photograph, confidences (16,)."""
    crop, to_photo = _crop(photo, box, recipe)
    if recipe.colours == "bgr":
        crop = np.ascontiguousarray(crop[..., ::-1])
    pixels = (
        torch.from_numpy(crop).to(device).float() / 255 - torch.tensor(IMAGENET_MEAN, device=device)
    ) / torch.tensor(IMAGENET_SD, device=device)
    maps = heatmaps(model, pixels.permute(2, 0, 1)[None], flip_test=recipe.flip_test, precision=precision)
    points, sure = decode(maps, recipe.decode, recipe.sigma)
    return geometry.apply(to_photo, points.double().cpu().numpy())[0], sure.double().cpu().numpy()[0]


def _crop(photo: NDArray[np.uint8], box: Box, recipe: Recipe) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """The network's input (H, W, 3) RGB and its affine (1, 2, 3) to the photograph."""
    x, y, w, h = box
    size = recipe.input_size
    if recipe.framing == "squeeze":
        left, top = max(0, int(x)), max(0, int(y))
        part = photo[top : int(np.ceil(y + h)), left : int(np.ceil(x + w))]
        if not part.size:
            raise PoseTopoError(f"the box {box} lies outside the photograph ({photo.shape[1]} x {photo.shape[0]})")
        affine = geometry.squeeze_to_photo(np.array([[part.shape[1], part.shape[0]]]), size)
        affine[:, :, 2] += [left, top]
        return crops.squeeze(part, size), affine
    scale = max(w, h) / 200
    # person_to_photo moves MPII's body centre down by 15 * scale; a box has its centre where it is
    center = np.array([[x + w / 2, y + h / 2 - 15 * scale]])
    margin = (geometry.stored_size(size) - size) / 2
    affine = geometry.translate_input(geometry.person_to_photo(center, np.array([scale]), size), margin)
    return crops.warp_person(photo, affine[0], size, recipe.antialias), affine


def _record(name: str, points: NDArray[np.float64], sure: NDArray[np.float64], box: Box) -> dict[str, Any]:
    """COCO's keypoint form: x, y, confidence in turn."""
    triples = [
        [round(float(x), 2), round(float(y), 2), round(float(c), 4)] for (x, y), c in zip(points, sure, strict=True)
    ]
    return {
        "file_name": name,
        "category_id": 1,
        "bbox": list(box),
        "keypoints": [value for triple in triples for value in triple],
        "score": round(float(sure.mean()), 4),
    }
