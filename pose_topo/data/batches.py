"""NumPy arrays to the device without making the host wait for it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pose_topo.core.errors import PoseTopoError
from pose_topo.data import augmentation, geometry
from pose_topo.data.augmentation import Draws
from pose_topo.data.crop_store import CropStore
from pose_topo.data.people import People
from pose_topo.study import joints as J
from pose_topo.study.backbones import HEATMAP_STRIDE
from pose_topo.study.config import Recipe


def upload(array: NDArray, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """The array as a tensor on the device.

    To a GPU it goes through pinned memory, asynchronously: a copy from ordinary memory would wait for all steps queued
    before it. The pinned block is kept until the copy is done (PyTorch's caching allocator sees to that).
    """
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    if dtype is not None:
        tensor = tensor.to(dtype)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


# ---- Preparing the next item in a background thread while the present one is used.

T = TypeVar("T")

_POLL = 0.1  # seconds between two looks at whether the consumer has gone


def prefetched(items: Iterable[T], depth: int = 2) -> Iterator[T]:
    """The same items in the same order, up to `depth` of them made ahead in a thread.

    The thread ends with the iterator: at the end, when the consumer stops early, and when making an item fails (whose
    error is raised here).
    """
    ready: queue.Queue[tuple[bool, Any]] = queue.Queue(maxsize=depth)  # (is an item, the item or how it ended)
    gone = threading.Event()

    def offer(entry: tuple[bool, Any]) -> bool:
        while not gone.is_set():
            try:
                ready.put(entry, timeout=_POLL)
                return True
            except queue.Full:
                pass
        return False

    def work() -> None:
        try:
            for item in items:
                if not offer((True, item)):
                    return
            offer((False, None))
        except BaseException as error:
            offer((False, error))

    thread = threading.Thread(target=work, name="prefetch", daemon=True)
    thread.start()
    try:
        while True:
            is_item, value = ready.get()
            if is_item:
                yield value
            elif value is None:
                return
            else:
                raise value
    finally:
        gone.set()
        thread.join()


# ---- Joints -> Gaussian heatmaps, for a whole batch on the device, from their closed form.

PATCH_RADIUS = 3  # in sigmas: the standard recipe draws a 13 x 13 patch for sigma 2


def generate_heatmaps(joints: Tensor, labelled: Tensor, size: int, sigma: float, centre: str) -> tuple[Tensor, Tensor]:
    """Gaussian targets of peak 1 and their weights.

    Args:
        joints: (B, K, 2) in heatmap cells, cell centres at integers (input pixel / 4); anything where not labelled.
        labelled: (B, K) bool.
        size: cells on a side.
        sigma: standard deviation in cells.
        centre: "nearest": at the cell int(x + .5), within a patch of 3 sigma (Xiao et al. 2018);
            "exact": at x itself; "truncated": at the cell int(x) (the original study).

    Returns:
        targets (B, K, size, size) and weights (B, K): 1 for a labelled joint whose patch ("nearest") or whose centre
        lies in the map, at least in part.
    """
    joints = torch.where(labelled[..., None], joints.float(), torch.full_like(joints, -1e4, dtype=torch.float32))
    if centre == "nearest":
        joints = torch.trunc(joints + 0.5)  # int() of the public code: towards zero, below zero too
    elif centre == "truncated":
        joints = torch.trunc(joints)
    radius = int(PATCH_RADIUS * sigma)
    # any of the patch [mu - radius, mu + radius] inside [0, size - 1]
    inside = ((joints > -radius - 1) & (joints < size + radius)).all(-1)
    if centre != "nearest":
        inside = ((joints > -0.5) & (joints < size - 0.5)).all(-1)
    weights = (labelled & inside).float()
    cells = torch.arange(size, device=joints.device, dtype=torch.float32)
    distance = cells - joints[..., None]  # (B, K, 2, size)
    bump = torch.exp(-0.5 * (distance / sigma) ** 2)
    if centre == "nearest":
        bump = bump * (distance.abs() <= radius)
    bump = bump * weights[..., None, None]
    return bump[:, :, 1, :, None] * bump[:, :, 0, None, :], weights  # rows are y


# ---- Stored crops -> the network's pictures, for a whole batch on the device.

CPU_CHUNK = 4  # people at a time on a CPU, so that the float crops stay in its cache


def warp(crops: Tensor, matrix: NDArray[np.float64], size: int) -> Tensor:
    """Bilinear, zero outside: what `cv2.warpAffine` with WARP_INVERSE_MAP gives, without its rounding.

    Args:
        crops: (B, S, S, 3) uint8 on the device.
        matrix: (B, 2, 3) affines from the result's pixels to the crop's.
        size: side of the result.

    Returns:
        (B, 3, size, size) float32 in 0..255, channels_last.
    """
    chunk = CPU_CHUNK if crops.device.type == "cpu" else max(1, len(crops))
    result = torch.empty(
        (len(crops), 3, size, size), dtype=torch.float32, device=crops.device, memory_format=torch.channels_last
    )
    for start in range(0, len(crops), chunk):
        part = slice(start, start + chunk)
        pixels = crops[part].permute(0, 3, 1, 2).float()  # (b, 3, S, S)
        grid = _sampling_grid(matrix[part], crops.shape[1], size, crops.device)
        result[part] = F.grid_sample(pixels, grid, mode="bilinear", padding_mode="zeros", align_corners=True)
    return result


def _sampling_grid(matrix: NDArray[np.float64], side: int, size: int, device: torch.device) -> Tensor:
    """grid_sample's grid (B, size, size, 2) for affines (B, 2, 3) from result pixels to crop pixels."""
    to_unit = matrix * (2 / (side - 1))  # grid_sample counts from -1 (first pixel's centre) to 1 (last one's)
    to_unit[..., 2] -= 1
    theta = upload(to_unit, device, torch.float32)
    pixels = torch.arange(size, device=device, dtype=torch.float32)
    x = pixels[:, None] * theta[:, None, :, 0]  # (B, size, 2)
    y = pixels[:, None] * theta[:, None, :, 1] + theta[:, None, :, 2]
    return x[:, None] + y[:, :, None]  # (B, size, size, 2)


# ---- CropStore -> batches on the device: augmented pictures, heatmap targets and their weights.

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_SD = (0.229, 0.224, 0.225)
TOGETHER = 128  # people at a time that a GPU augments, however small its batches: the host has fewer kernels to launch
RESIDENT_SHARE = 0.5  # of the GPU memory that is free, at most so much for a set of crops; the network needs the rest


@dataclass(frozen=True)
class Batch:
    """B people on the device."""

    images: Tensor  # (B, 3, H, W) normalised, RGB (or as the recipe's `colours` says), channels_last
    targets: Tensor  # (B, 16, H/4, W/4)
    weights: Tensor  # (B, 16)
    index: NDArray[np.int64]  # (B,) rows of the store
    share: float = 1.0  # of the step's people, relative to what each of several processes has on average

    def part(self, people: slice, share: float) -> Batch:
        """Some of its people, in views."""
        return Batch(self.images[people], self.targets[people], self.weights[people], self.index[people], share)


class Batches:
    """The people `rows` of a store, served in batches.

    On a GPU their crops are copied to it once if they fit half of its free memory, else read ahead by a thread into
    pinned memory. On a CPU there is neither: reading a crop is a copy from the page cache there, which a thread would
    only do on a core that the network is using.
    """

    def __init__(
        self,
        store: CropStore,
        people: People,
        rows: NDArray[np.int64],
        recipe: Recipe,
        device: torch.device,
        *,
        resident: bool | None = None,
        prefetch: bool | None = None,
        together: int | None = None,
    ) -> None:
        """Args:
        resident: keep the crops on the device; None: as said above.
        prefetch: read ahead in a thread; None: on a GPU that they do not fit.
        together: people that are augmented at once, for several steps if need be; None: on a GPU `TOGETHER`, else a
            step's. It changes no batch.
        """
        self.rows, self.recipe, self.device = np.asarray(rows), recipe, device
        self._together = together or (TOGETHER if device.type == "cuda" else 1)
        self.side = store.settings.side
        self.margin = (self.side - recipe.input_size) // 2
        self.to_photo = store.to_photo
        self.joints = np.full(people.joints.shape, np.nan)  # (P, 16, 2) stored-crop pixels; an unreadable crop has none
        self.joints[store.ok] = geometry.apply(geometry.invert(store.to_photo[store.ok]), people.joints[store.ok])
        self.labelled = people.labelled
        self._crops = store.crops
        self._resident = self._to_device() if (self._fits() if resident is None else resident) else None
        self._slot = np.full(len(store.crops), -1)  # where a row lies in `_resident`
        self._slot[self.rows] = np.arange(len(self.rows))
        self._prefetch = device.type == "cuda" and self._resident is None if prefetch is None else prefetch
        mean, sd = (torch.tensor(v, device=device).view(1, 3, 1, 1) * 255 for v in (IMAGENET_MEAN, IMAGENET_SD))
        self._mean, self._per_sd = mean, 1 / sd

    def __len__(self) -> int:
        return len(self.rows)

    def steps(self, batch_size: int, processes: int = 1) -> int:
        """Steps in an epoch of training."""
        return -(-len(self.rows) // (batch_size * processes))

    def epoch(
        self, seed: int, epoch: int, batch_size: int, *, skip: int = 0, process: int = 0, processes: int = 1
    ) -> Generator[Batch, None, None]:
        """One epoch of training batches: every person once, in random order.

        The people are dealt out evenly over as many steps as batches of `batch_size` need, so that batches differ by at
        most one person (no small one at the end, on which BatchNorm's statistics would be poor), and a step's people
        evenly among `processes`.

        Args:
            batch_size: people a process and step.
            skip: steps that were taken before.
            process: which of the processes' batches to make.

        Raises:
            PoseTopoError: there are not enough people to give each process one.
        """
        if len(self.rows) < 2 * processes:
            raise PoseTopoError(f"{len(self.rows)} people to train on: at least {2 * processes} are needed")
        draws = augmentation.draw_epoch(len(self.joints), seed, epoch, self.recipe.augment)
        # the permutation is over all people of the store, so that a person's place in it does not depend on the split
        order = draws.order[np.isin(draws.order, self.rows)]
        steps = np.array_split(order, self.steps(batch_size, processes))[skip:]
        chunks = [np.array_split(step, processes)[process] for step in steps]
        shares = [len(chunk) * processes / len(step) for chunk, step in zip(chunks, steps, strict=True)]
        augment = self.recipe.augment != "none"
        groups = _chunks(np.arange(len(chunks)), max(1, self._together // batch_size))
        read = self._read([np.concatenate([chunks[step] for step in group]) for group in groups], margin=augment)
        for group, (index, crops) in zip(groups, read, strict=True):
            batch = self._augmented(index, crops, draws) if augment else self._plain(index, crops)
            end = 0
            for step in group:
                start, end = end, end + len(chunks[step])
                yield batch.part(slice(start, end), shares[step])

    def in_order(self, batch_size: int, *, process: int = 0, processes: int = 1) -> Iterator[Batch]:
        """Every person once, in order, without augmentation; of several processes each makes every n-th batch."""
        for index, crops in self._read(_chunks(self.rows, batch_size)[process::processes], margin=False):
            yield self._plain(index, crops)

    def input_to_photo(self) -> NDArray[np.float64]:
        """Affines (P, 2, 3) from the network's input to the photograph, for every person of the store."""
        return geometry.translate_input(self.to_photo, self.margin)

    def _fits(self) -> bool:
        if self.device.type != "cuda":
            return False
        needed = len(self.rows) * self.side * self.side * 3
        return needed < RESIDENT_SHARE * torch.cuda.mem_get_info(self.device)[0]

    def _to_device(self) -> Tensor:
        resident = torch.empty((len(self.rows), self.side, self.side, 3), dtype=torch.uint8, device=self.device)
        for start in range(0, len(self.rows), 256):
            part = self.rows[start : start + 256]
            resident[start : start + len(part)] = torch.from_numpy(self._crops[part]).to(self.device)
        return resident

    def _read(self, chunks: list[NDArray[np.int64]], margin: bool) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
        """Rows and their crops on the device, uint8: (B, S, S, 3) with the margin, else (B, H, W, 3)."""
        inner = slice(None) if margin else slice(self.margin, self.margin + self.recipe.input_size)
        if self._resident is not None:
            for index in chunks:
                where = upload(self._slot[index], self.device)
                yield index, self._resident[where][:, inner, inner]
            return
        read = ((index, self._copied(index, inner)) for index in chunks)
        for index, crops in prefetched(read) if self._prefetch else read:
            yield index, crops.to(self.device, non_blocking=True)

    def _copied(self, index: NDArray[np.int64], inner: slice) -> Tensor:
        """Crops in memory, pinned if they go to a GPU; only the pixels that are needed are touched."""
        side = self.side if inner == slice(None) else self.recipe.input_size
        crops = torch.empty((len(index), side, side, 3), dtype=torch.uint8, pin_memory=self.device.type == "cuda")
        into = crops.numpy()
        for place, row in enumerate(index):
            into[place] = self._crops[row, inner, inner]
        return crops

    def _plain(self, index: NDArray[np.int64], crops: Tensor) -> Batch:
        pictures = crops.permute(0, 3, 1, 2).float()  # (B, 3, H, W), channels_last as the crops are
        return self._batch(pictures, self.joints[index] - self.margin, self.labelled[index], index)

    def _augmented(self, index: NDArray[np.int64], crops: Tensor, draws: Draws) -> Batch:
        matrix = augmentation.to_stored(draws, index, self.side, self.recipe.input_size)
        pictures = warp(crops, matrix, self.recipe.input_size)
        moved = geometry.apply(geometry.invert(matrix), self.joints[index])
        flip = draws.flip[index]
        labelled = self.labelled[index].copy()
        moved[flip] = moved[flip][:, J.FLIP_INDEX]
        labelled[flip] = labelled[flip][:, J.FLIP_INDEX]
        return self._batch(pictures, moved, labelled, index)

    def _batch(self, pictures: Tensor, joints: NDArray, labelled: NDArray, index: NDArray[np.int64]) -> Batch:
        """Normalise `pictures` (B, 3, H, W; 0..255; overwritten) and draw the targets of `joints` (input pixels)."""
        recipe = self.recipe
        if recipe.colours == "bgr":  # before normalising: such a network took red's mean from its first channel, blue
            pictures = pictures.flip(1)
        # an edge-based cell (the study's int(64 x / W)) against a centre-based one
        cells = (joints + 0.5) / HEATMAP_STRIDE if recipe.target_centre == "truncated" else joints / HEATMAP_STRIDE
        targets, weights = generate_heatmaps(
            upload(cells, self.device, torch.float32),
            upload(labelled, self.device),
            recipe.heatmap_size,
            recipe.sigma,
            recipe.target_centre,
        )
        return Batch(pictures.sub_(self._mean).mul_(self._per_sd), targets, weights, index)


def _chunks(order: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    return [order[start : start + size] for start in range(0, len(order), size)]
