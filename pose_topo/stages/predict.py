"""Predict the joints of people in photographs: `predict` for Python, `predict_photographs` for the command line.

The command writes an overlay per photograph, and keypoints.json in the form of COCO's keypoint results
(cocodataset.org/#format-results).
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from cv2.utils import logging
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from pose_topo.core.errors import PoseTopoError, in_short
from pose_topo.core.files import write_json
from pose_topo.core.log import log
from pose_topo.data import geometry
from pose_topo.data.crops import MOST_PIXELS, Box, network_input, photo_size, read_photograph, touches, whole
from pose_topo.pictures import drawing
from pose_topo.stages.checkpoints import Network, load_network
from pose_topo.study import joints
from pose_topo.study.config import SUFFIXES, Recipe

MIN_CONFIDENCE = 0.3  # joints with a lower confidence are drawn hollow
OVERLAY = ".overlay"  # before the suffix of overlays, so that they are not taken for photographs


@dataclass(frozen=True)
class Photo:
    """A photograph that is ready for the network.

    Attributes:
        picture: (H, W, 3), BGR, turned as its EXIF orientation says.
        people: The box of each person, and its network input and affine map (see `network_input`).
    """

    picture: NDArray[np.uint8]
    people: list[tuple[Box, NDArray[np.uint8], NDArray[np.float64]]]


@dataclass(frozen=True)
class Person:
    """The predicted joints of one person in a photograph."""

    box: Box
    points: NDArray[np.float64]  # (16, 2), 0-based pixels of the photograph
    confidence: NDArray[np.float64]  # (16,)

    @property
    def found(self) -> NDArray[np.bool_]:
        """The joints whose heatmap is positive somewhere, (16,). The others have no place."""
        return self.confidence > 0


def predict(
    network: Network, photograph: str | Path | NDArray[np.uint8], boxes: Sequence[Box] = ()
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Predict the joints of the people in one photograph.

    Args:
        network: A network from `load_network`.
        photograph: A file, which is turned as its EXIF orientation says, or an RGB array (H, W, 3).
        boxes: (x, y, w, h) of each person, in pixels. Without boxes, one person is expected anywhere in the photograph.

    Returns:
        Joints (P, 16, 2) in 0-based pixels of the photograph, in MPII's order (`pose_topo.study.joints.NAMES`), and
        their confidences (P, 16).

    Raises:
        PoseTopoError: The file is not readable as a photograph, or a box lies outside the photograph.
    """
    photo = _prepare(photograph, tuple(boxes), network.recipe)
    (people,) = _predict_people([photo], network, len(photo.people))
    return np.stack([person.points for person in people]), np.stack([person.confidence for person in people])


def predict_photographs(
    checkpoint: Path,
    paths: list[Path],
    out: Path,
    *,
    boxes: tuple[Box, ...] = (),
    min_confidence: float = MIN_CONFIDENCE,
    overlay: str = "auto",
    batch_size: int = 16,
    max_pixels: int = MOST_PIXELS,
    device: str = "auto",
    precision: str = "auto",
    progress: bool | None = None,
) -> tuple[int, int]:
    """Write an overlay of each photograph, and keypoints.json.

    A photograph is skipped with a warning if it is unreadable or too large, or if a box lies outside it.

    Args:
        boxes: The boxes of the people in every photograph. Without boxes, one person is expected anywhere in it.
        min_confidence: Joints with a lower confidence are drawn hollow. The JSON contains all joints.
        overlay: "png", "jpg", "none", or "auto": JPEG for a JPEG, otherwise PNG.
        batch_size: The number of photographs in memory at a time, or fewer that have `max_pixels` together.
        max_pixels: Skip a photograph that has more.
        progress: Whether to show a progress bar. None: only in a terminal.

    Returns:
        The number of photographs that were read, and the number that were skipped.

    Raises:
        PoseTopoError: There is no such checkpoint or photograph, or no photograph can be used.
    """
    files = find_photographs(paths)
    network = load_network(checkpoint, device, precision)
    images, annotations, skipped = [], [], []

    def read(file: PhotoFile) -> Photo | PoseTopoError:
        try:
            return _prepare(file.path, boxes, network.recipe, max_pixels)
        except PoseTopoError as error:
            return error
        except Exception as error:  # one photograph must not cost the others, whatever is wrong with it
            return PoseTopoError(f"{file.path}: not readable as a photograph ({in_short(error)})")

    def write_overlay(file: PhotoFile, photo: Photo, people: list[Person]) -> str | None:
        if overlay == "none":
            return None
        like_photo = "jpg" if file.path.suffix.lower() in (".jpg", ".jpeg") else "png"
        kind = like_photo if overlay == "auto" else overlay
        name = f"{file.name}{OVERLAY}.{kind}"
        drawing.write_picture(out / name, draw_overlay(photo.picture[..., ::-1], people, min_confidence))
        return name

    # None is tqdm's own word for a bar that is shown only if stderr is a terminal
    bar = tqdm(total=len(files), desc="predict", unit="photo", disable=None if progress is None else not progress)
    with bar, ThreadPoolExecutor() as pool, _own_messages():
        for chunk in _chunks(files, batch_size, max_pixels):
            good = []
            for file, photo in zip(chunk, pool.map(read, chunk), strict=True):
                if isinstance(photo, PoseTopoError):
                    skipped.append(readable(str(photo)))
                    log.warning(f"skipped {skipped[-1]}")
                else:
                    good.append((file, photo))
            predicted = list(_predict_people([photo for _, photo in good], network, batch_size))
            named = pool.map(write_overlay, [file for file, _ in good], [photo for _, photo in good], predicted)
            for (file, photo), people, name in zip(good, predicted, named, strict=True):
                image = image_entry(len(images) + 1, file.path, photo.picture, name)
                images.append(image)
                annotations += [annotation(one, n, image) for n, one in enumerate(people, len(annotations) + 1)]
            bar.update(len(chunk))
    if not images:
        more = f" (nor is any other of the {len(skipped)} photographs usable)" if len(skipped) > 1 else ""
        raise PoseTopoError(f"{skipped[0]}{more}")
    settings = {key: getattr(network.recipe, key) for key in ("decode", "flip_test", "framing")}
    content = {
        "schema": SCHEMA,
        "kind": "keypoints",
        "notes": NOTES,
        "checkpoint_sha256": network.sha256,
        "settings": {**settings, "precision": network.precision},
        "categories": [CATEGORY],
        "images": images,
        "annotations": annotations,  # COCO's tools accept these alone as results
        "skipped": skipped,
    }
    write_json(out / "keypoints.json", content)
    return len(images), len(skipped)


def _chunks(files: list[PhotoFile], most: int, max_pixels: int) -> Iterator[list[PhotoFile]]:
    """Yield the photographs in lists that memory can hold: `most` of them, or fewer that have `max_pixels` together."""
    chunk, pixels = [], 0
    for file in files:
        width, height = photo_size(file.path) or (0, 0)
        if chunk and (len(chunk) == most or pixels + width * height > max_pixels):
            yield chunk
            chunk, pixels = [], 0
        chunk.append(file)
        pixels += width * height
    yield chunk


def _prepare(
    photograph: str | Path | NDArray[np.uint8], boxes: tuple[Box, ...], recipe: Recipe, max_pixels: int = MOST_PIXELS
) -> Photo:
    if isinstance(photograph, np.ndarray):
        name, picture = "the array", np.ascontiguousarray(photograph[..., ::-1])
    else:
        name, picture = str(photograph), _read(Path(photograph), max_pixels)
    people = []
    for box in boxes or (whole(picture),):
        if not touches(box, picture):
            size = f"{picture.shape[1]} x {picture.shape[0]} pixels"
            written = ",".join(f"{value:g}" for value in box)
            raise PoseTopoError(f"{name}: the box {written} lies outside the photograph of {size}")
        people.append((box, *network_input(picture, box, recipe)))
    return Photo(picture, people)


def _read(path: Path, max_pixels: int) -> NDArray[np.uint8]:
    picture = read_photograph(path, upright=True, most_pixels=max_pixels)
    if picture is None:
        width, height = photo_size(path) or (0, 0)
        if width * height > max_pixels:
            raise PoseTopoError(f"{path}: {width:,} x {height:,} pixels, more than --max-pixels {max_pixels:,}")
        irregular = os.path.lexists(path) and not path.is_file()
        raise PoseTopoError(f"{path}: not {'a regular file' if irregular else 'readable as a photograph'}")
    return picture


def _predict_people(photos: list[Photo], network: Network, batch_size: int) -> Iterator[list[Person]]:
    """Yield the people of each photograph, one per box. The network gets `batch_size` inputs at a time."""
    inputs = [crop for photo in photos for _, crop, _ in photo.people]
    batches = [network.joints(inputs[at : at + batch_size]) for at in range(0, len(inputs), batch_size)]
    answers = ((p, c) for points, confidence in batches for p, c in zip(points, confidence, strict=True))
    for photo in photos:
        people = []
        for box, _, affine in photo.people:
            points, confidence = next(answers)
            people.append(Person(box, geometry.apply(affine, points), confidence))
        yield people


def draw_overlay(picture: NDArray[np.uint8], people: list[Person], min_confidence: float) -> NDArray[np.uint8]:
    """The RGB photograph (H, W, 3) with its people, their boxes if boxes were given, and a legend."""
    for person in people:
        if person.box != whole(picture):
            picture = drawing.draw_box(picture, person.box)
    for person in people:
        solid = person.confidence >= min_confidence
        picture = drawing.draw_person(picture, person.points, solid=solid, shown=person.found)
    entries = [*drawing.BODY, drawing.hollow(f"confidence < {min_confidence:g}")]
    return drawing.stamp(picture, entries, np.concatenate([person.points for person in people]))


@contextmanager
def _own_messages() -> Iterator[None]:
    """Silence what OpenCV and Pillow say about broken and large files: a warning of ours names them.

    Pillow's own limit of pixels is lifted, because `max_pixels` replaces it.
    """
    level, limit = logging.getLogLevel(), Image.MAX_IMAGE_PIXELS
    logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    Image.MAX_IMAGE_PIXELS = None
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\.")
            yield
    finally:
        logging.setLogLevel(level)
        Image.MAX_IMAGE_PIXELS = limit


# ---- The photographs that the command line names


class PhotoFile(NamedTuple):
    """A photograph, and the name of its results: its stem, with a number if another photograph has the same stem."""

    path: Path
    name: str


def find_photographs(paths: list[Path]) -> list[PhotoFile]:
    """The photographs among files and folders, each photograph once. Subfolders are not searched.

    Raises:
        PoseTopoError: A path does not exist, or a folder contains no photograph.
    """
    taken: set[str] = set()
    files = {}
    for file in chain.from_iterable(map(_files, paths)):
        real = os.path.realpath(file)  # Path.resolve fails at a link to itself
        if real not in files:
            numbered = (f"{file.stem}-{number}" for number in count(2))
            # some file systems do not distinguish upper and lower case
            name = next(name for name in chain([file.stem], numbered) if name.casefold() not in taken)
            taken.add(name.casefold())
            files[real] = PhotoFile(file, name)
    return list(files.values())


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        inside = sorted(file for file in path.iterdir() if _is_photograph(file))
        if not inside:
            raise PoseTopoError(
                f"{path}: no photograph in this folder ({', '.join(SUFFIXES)}; subfolders are not searched)"
            )
        return inside
    if not os.path.lexists(path):  # a link that leads nowhere is skipped later
        raise PoseTopoError(f"{path}: no such photograph, folder or run")
    return [path]


def _is_photograph(file: Path) -> bool:
    ours = file.stem.endswith(OVERLAY)
    hidden = file.name.startswith(".")  # for example ._name.jpg of macOS, which is not a picture
    return file.suffix.lower() in SUFFIXES and not ours and not hidden and not file.is_dir()


# ---- keypoints.json. Ids count from 1

SCHEMA = 1
PERSON = 1  # the id of COCO's category
NOTES = {
    "coordinates": "0-based pixel centres, x to the right and y down, of the photograph turned as its EXIF says",
    "confidence": "the maximum of a joint's heatmap: about 1 at best, 0 where the joint was not found; no probability",
}
CATEGORY = {
    "id": PERSON,
    "name": "person",
    "supercategory": "person",
    "keypoints": list(joints.NAMES),
    "skeleton": [[a + 1, b + 1] for a, b in joints.LIMBS],  # COCO counts from 1
}


def image_entry(number: int, path: Path, picture: NDArray[np.uint8], overlay: str | None) -> dict[str, Any]:
    """One photograph (H, W, 3), and the name of its overlay if it has one."""
    names = {"file_name": readable(path.name), "path": readable(path.as_posix())}
    size = {"width": picture.shape[1], "height": picture.shape[0]}
    return {"id": number, **names, "overlay": overlay and readable(overlay), **size}


def annotation(person: Person, number: int, image: dict[str, Any]) -> dict[str, Any]:
    """One person of a photograph: x, y and confidence of each joint (0, 0, 0 if it was not found), and their mean."""
    triples = np.column_stack([person.points, person.confidence])
    triples[~person.found] = 0.0
    return {
        "id": number,
        "image_id": image["id"],
        "file_name": image["file_name"],
        "category_id": PERSON,
        "bbox": list(person.box),
        "keypoints": [round(float(v), digits) for row in triples for v, digits in zip(row, (2, 2, 4), strict=True)],
        "score": round(float(triples[:, 2].mean()), 4),
    }


def readable(name: str) -> str:
    """A file name as text. Bytes that are not UTF-8, which some file systems allow, are replaced."""
    return os.fsencode(name).decode("utf-8", "replace")
