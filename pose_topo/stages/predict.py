"""Photographs that somebody names on the command line: which files they are, and what their results are called."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from cv2.utils import logging
from numpy.typing import NDArray
from tqdm import tqdm

from pose_topo.core.errors import PoseTopoError
from pose_topo.core.files import write_json
from pose_topo.core.log import log
from pose_topo.data import geometry
from pose_topo.data.crops import Box, network_input, read_photograph, touches, whole
from pose_topo.pictures import drawing as legends
from pose_topo.pictures import drawing as plots
from pose_topo.pictures import drawing as skeletons
from pose_topo.scoring.coco import Found, FoundPerson, readable
from pose_topo.stages.checkpoints import Network, load_network
from pose_topo.study.config import Recipe

# what a folder is searched for; some of these OpenCV reads in some builds only, and then they are named as unreadable
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".heic", ".heif", ".avif")
OVERLAY = ".overlay"  # before the suffix of our own pictures, which are no photographs


@dataclass(frozen=True)
class PhotoFile:
    """A photograph on the disk."""

    path: Path
    name: str  # of its results: the stem, numbered where another photograph has the same


def find_photographs(paths: list[Path]) -> list[PhotoFile]:
    """The photographs among `paths`: files as they are, folders without their subfolders, each photograph once.

    Raises:
        PoseTopoError: a path does not exist, or a folder holds no photograph.
    """
    taken: set[str] = set()
    seen: set[Path] = set()
    found = []
    for path in paths:
        for file in _files(path):
            if file.resolve() not in seen:
                seen.add(file.resolve())
                found.append(PhotoFile(file, _free_name(file.stem, taken)))
    return found


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        if not path.exists():
            raise PoseTopoError(f"{path}: no such photograph or folder")
        yield path
        return
    inside = sorted(file for file in path.iterdir() if _is_photograph(file))
    if not inside:
        raise PoseTopoError(
            f"{path}: no photograph in this folder ({', '.join(SUFFIXES)}; subfolders are not searched)"
        )
    yield from inside


def _is_photograph(file: Path) -> bool:
    ours = file.stem.endswith(OVERLAY)
    hidden = file.name.startswith(".")  # such as macOS's ._name.jpg, which holds no picture
    return file.suffix.lower() in SUFFIXES and not ours and not hidden and not file.is_dir()


def _free_name(stem: str, taken: set[str]) -> str:
    """`stem`, or `stem-2`, `stem-3` ...: the first that is free also where file names know no case."""
    name, number = stem, 1
    while name.casefold() in taken:
        number += 1
        name = f"{stem}-{number}"
    taken.add(name.casefold())
    return name


# ---- A trained network on anybody's photographs: an overlay each, and keypoints.json.

OVERLAYS = ("auto", "png", "jpg", "none")
MIN_CONFIDENCE = 0.3  # below it a joint is drawn hollow


@dataclass(frozen=True)
class Photo:
    """A photograph ready for the network, or the reason why it is not."""

    file: PhotoFile
    picture: NDArray[np.uint8] | None = None  # (H, W, 3) BGR, upright
    boxes: tuple[Box, ...] = ()
    inputs: tuple[tuple[NDArray[np.uint8], NDArray[np.float64]], ...] = ()  # of each box: see network_input
    skipped: str | None = None

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """The picture of a photograph that was not skipped."""
        assert self.picture is not None
        return self.picture


def predict(
    network: Network, photograph: str | Path | NDArray[np.uint8], boxes: Sequence[Box] = ()
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Predict the joints of the people in one photograph.

    Args:
        network: from `load_network`.
        photograph: a file, which is turned as its EXIF orientation says, or an array (H, W, 3), RGB.
        boxes: (x, y, w, h) of each person, in pixels. Without boxes, one person is expected anywhere in the photograph.

    Returns:
        Joints (P, 16, 2) in 0-based pixels of the photograph, in MPII's order (`pose_topo.study.joints.NAMES`), and
        their confidences (P, 16).

    Raises:
        PoseTopoError: the file is not readable as a photograph, or a box lies outside of it.
    """
    if isinstance(photograph, str | Path):
        pixels = read_photograph(Path(photograph), upright=True)
        if pixels is None:
            raise PoseTopoError(f"{photograph}: not readable as a photograph")
    else:
        pixels = np.ascontiguousarray(photograph[..., ::-1])
    photo = _framed(PhotoFile(Path(str(photograph) if isinstance(photograph, str | Path) else "array"), ""), pixels,
                    tuple(boxes), network.recipe)  # fmt: skip
    if photo.skipped:
        raise PoseTopoError(photo.skipped)
    ((_, persons),) = _people_in([photo], network, len(photo.boxes))
    return np.stack([person.points for person in persons]), np.stack([person.confidence for person in persons])


def predict_photographs(
    checkpoint: Path,
    paths: list[Path],
    out: Path,
    *,
    boxes: tuple[Box, ...] = (),
    min_confidence: float = MIN_CONFIDENCE,
    overlay: str = "auto",
    batch_size: int = 16,
    device: str = "auto",
    precision: str = "auto",
    progress: bool | None = None,
) -> tuple[int, int]:
    """Write an overlay of each photograph and `keypoints.json`; returns how many were read and how many skipped.

    A photograph that is unreadable, or that a box lies outside of, is named and skipped.

    Args:
        boxes: of the people in every photograph; none: one person, anywhere in it.
        min_confidence: joints below it are drawn hollow; the JSON holds them all.
        overlay: one of OVERLAYS; "auto": JPEG of a JPEG, else PNG.
        batch_size: photographs in memory at a time.
        progress: show a bar; None: where stderr is a terminal.

    Raises:
        PoseTopoError: no such checkpoint, no such photograph, or none that can be used.
    """
    files = find_photographs(paths)
    network = load_network(checkpoint, device, precision)
    found, skipped = Found(), []
    with _bar(len(files), progress) as bar, ThreadPoolExecutor() as pool, _silent_opencv():
        for start in range(0, len(files), batch_size):
            chunk = files[start : start + batch_size]
            photos = list(pool.map(lambda file: _open(file, boxes, network.recipe), chunk))
            for photo in photos:
                if photo.skipped:
                    log.warning(f"skipped {readable(photo.skipped)}")
                    skipped.append(readable(photo.skipped))
            people = list(_people_in([photo for photo in photos if not photo.skipped], network, batch_size))
            names = pool.map(lambda one: _write_overlay(one[0], one[1], out, overlay, min_confidence), people)
            for (photo, persons), name in zip(people, names, strict=True):
                height, width = photo.pixels.shape[:2]
                found.add(photo.file.path, width, height, name, persons)
            bar.update(len(chunk))
    if not found.images:
        more = f" (nor is any other of the {len(skipped)} photographs usable)" if len(skipped) > 1 else ""
        raise PoseTopoError(f"{skipped[0]}{more}")
    write_json(out / "keypoints.json", {**found.as_json(), **network.identity(), "skipped": skipped})
    return len(found.images), len(skipped)


def _open(file: PhotoFile, boxes: tuple[Box, ...], recipe: Recipe) -> Photo:
    picture = read_photograph(file.path, upright=True)
    if picture is None:
        return Photo(file, skipped=f"{file.path}: not readable as a photograph")
    return _framed(file, picture, boxes, recipe)


def _framed(file: PhotoFile, picture: NDArray[np.uint8], boxes: tuple[Box, ...], recipe: Recipe) -> Photo:
    """The photograph (H, W, 3), BGR, with a network input for each box; `skipped` if a box lies outside of it."""
    boxes = boxes or (whole(picture),)
    for box in boxes:
        if not touches(box, picture):
            size = f"{picture.shape[1]} x {picture.shape[0]} pixels"
            written = ",".join(f"{value:g}" for value in box)
            return Photo(file, skipped=f"{file.path}: the box {written} lies outside the photograph of {size}")
    return Photo(file, picture, boxes, tuple(network_input(picture, box, recipe) for box in boxes))


def _people_in(photos: list[Photo], network: Network, batch_size: int) -> Iterator[tuple[Photo, list[FoundPerson]]]:
    """Each photograph with a person for each of its boxes, asked of the network in batches."""
    inputs = [crop for photo in photos for crop, _ in photo.inputs]
    answers = [network.joints(inputs[at : at + batch_size]) for at in range(0, len(inputs), batch_size)]
    each = ((p, s) for points, sure in answers for p, s in zip(points, sure, strict=True))
    for photo in photos:
        persons = []
        for box, (_, affine) in zip(photo.boxes, photo.inputs, strict=True):
            points, sure = next(each)
            persons.append(FoundPerson(box, geometry.apply(affine, points), sure))
        yield photo, persons


def draw_overlay(picture: NDArray[np.uint8], persons: list[FoundPerson], min_confidence: float) -> NDArray[np.uint8]:
    """The photograph (H, W, 3), RGB, with its people, their boxes if there are any, and what the colours mean."""
    for person in persons:
        if person.box != whole(picture):
            picture = skeletons.draw_box(picture, person.box)
    for person in persons:
        solid = person.confidence >= min_confidence
        picture = skeletons.draw_person(picture, person.points, solid=solid, shown=person.found)
    entries = [legends.LEFT, legends.RIGHT, legends.MIDDLE, legends.hollow(f"confidence < {min_confidence:g}")]
    return legends.stamp(picture, entries, np.concatenate([person.points for person in persons]))


def _write_overlay(
    photo: Photo, persons: list[FoundPerson], out: Path, overlay: str, min_confidence: float
) -> str | None:
    """The name of the overlay, if there is to be one."""
    if overlay == "none":
        return None
    if overlay == "auto":
        overlay = "jpg" if photo.file.path.suffix.lower() in (".jpg", ".jpeg") else "png"
    name = f"{photo.file.name}{OVERLAY}.{overlay}"
    plots.write_picture(out / name, draw_overlay(photo.pixels[..., ::-1], persons, min_confidence))
    return name


def _bar(photographs: int, progress: bool | None) -> tqdm:
    # tqdm's own None: no bar unless stderr is a terminal
    return tqdm(total=photographs, desc="predict", unit="photo", disable=None if progress is None else not progress)


@contextmanager
def _silent_opencv() -> Iterator[None]:
    """Within, OpenCV's readers do not print what they think of a broken file: the warning says it."""
    before = logging.getLogLevel()
    logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        logging.setLogLevel(before)
