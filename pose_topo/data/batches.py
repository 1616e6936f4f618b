"""Serve crops in batches on the device: augmented images, heatmap targets and joint masks.

The crops of a `CropStore` are warped and normalised on the device (`warp`), and the targets are drawn there from their
formula (`generate_heatmaps`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pose_topo.core.errors import PoseTopoError
from pose_topo.data import augmentation, geometry
from pose_topo.data.augmentation import EpochAugmentation
from pose_topo.data.people import CropStore, People
from pose_topo.study import joints as J
from pose_topo.study.backbones import HEATMAP_STRIDE
from pose_topo.study.config import Recipe

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_SD = (0.229, 0.224, 0.225)
AUGMENT_BATCH = 128  # people that a GPU augments at once, even if its batches are smaller, to launch fewer kernels
RESIDENT_SHARE = 0.5  # share of the free GPU memory that crops may fill; the network needs the rest
PATCH_RADIUS = 3  # in sigmas: the standard recipe draws a 13 x 13 patch for sigma 2
CPU_CHUNK = 4  # people that a CPU warps at once, so that the crops as floats stay in its cache

T = TypeVar("T")
# Takes inputs (B, 3, H, W), RGB, 0..255, and the rows of their people (B,). Returns changed inputs.
Change = Callable[[Tensor, NDArray[np.int64]], Tensor]


@dataclass(frozen=True)
class Batch:
    """B people; all tensors are on the device."""

    images: Tensor  # (B, 3, H, W) normalised, RGB (or as the recipe's `colours` says), channels_last
    targets: Tensor  # (B, 16, H/4, W/4)
    mask: Tensor  # (B, 16) 1 for a joint that counts in the loss: labelled, and in the heatmap
    index: NDArray[np.int64]  # (B,) rows of the store
    # Several processes share the people of a step, and average their gradients. Each weights its own mean loss by its
    # number of people over the mean number per process, so that the average is over people.
    process_weight: float = 1.0

    def part(self, people: slice, process_weight: float) -> Batch:
        """Return some of its people, as views."""
        return Batch(self.images[people], self.targets[people], self.mask[people], self.index[people], process_weight)


class Batches:
    """Serves the people `rows` (N,) of a store in batches on a device, as a recipe says: size, augmentation, targets.

    For a GPU, the crops are copied to it once if they fit half of its free memory. Otherwise a thread reads them ahead
    into pinned memory. For a CPU, they are read when they are needed: that is a copy from the page cache, and a thread
    would take the time of a core that the network uses.
    """

    def __init__(
        self, store: CropStore, people: People, rows: NDArray[np.int64], recipe: Recipe, device: torch.device
    ) -> None:
        self.rows, self.recipe, self.device = np.asarray(rows), recipe, device
        self._augment_batch = AUGMENT_BATCH if device.type == "cuda" else 1
        self.side = store.settings.side
        self.margin = (self.side - recipe.input_size) // 2
        self.to_photo = store.to_photo
        self.joints = np.full(people.joints.shape, np.nan)  # (P, 16, 2) stored-crop pixels; NaN for unreadable crops
        self.joints[store.ok] = geometry.apply(geometry.invert(store.to_photo[store.ok]), people.joints[store.ok])
        self.labelled = people.labelled
        self._crops = store.crops
        self._resident = self._to_device() if self._fits() else None
        self._slot = np.full(len(store.crops), -1)  # the place of a row in `_resident`
        self._slot[self.rows] = np.arange(len(self.rows))
        self._prefetch = device.type == "cuda" and self._resident is None
        mean, sd = (torch.tensor(v, device=device).view(1, 3, 1, 1) * 255 for v in (IMAGENET_MEAN, IMAGENET_SD))
        self._mean, self._per_sd = mean, 1 / sd

    def __len__(self) -> int:
        return len(self.rows)

    def steps(self, batch_size: int, processes: int = 1) -> int:
        """Return the number of steps in an epoch of training."""
        return -(-len(self.rows) // (batch_size * processes))

    def epoch(
        self, seed: int, epoch: int, batch_size: int, *, skip: int = 0, process: int = 0, processes: int = 1
    ) -> Generator[Batch, None, None]:
        """Yield one epoch of training batches: every person once, in random order.

        The people are distributed evenly over as many steps as batches of `batch_size` need, and those of a step evenly
        over the processes. So batches differ by at most one person, and there is no small last batch, whose BatchNorm
        statistics would be poor.

        Args:
            seed: the run's seed; it determines, with `epoch`, the order and the augmentation.
            epoch: number of the epoch.
            batch_size: people per process and step.
            skip: number of steps to leave out, because they were taken before an interruption.
            process: the process whose batches are made, from 0.
            processes: number of processes.

        Raises:
            PoseTopoError: there are not enough people to give each process one in every step.
        """
        if len(self.rows) < 2 * processes:
            raise PoseTopoError(f"{len(self.rows)} people to train on: at least {2 * processes} are needed")
        drawn = augmentation.draw_epoch(len(self.joints), seed, epoch, self.recipe.augment)
        # the permutation is of all people of the store, so that the order of two people does not depend on the split
        order = drawn.order[np.isin(drawn.order, self.rows)]
        steps = np.array_split(order, self.steps(batch_size, processes))[skip:]
        chunks = [np.array_split(step, processes)[process] for step in steps]
        weights = [len(chunk) * processes / len(step) for chunk, step in zip(chunks, steps, strict=True)]
        augment = self.recipe.augment != "none"
        groups = _chunks(np.arange(len(chunks)), max(1, self._augment_batch // batch_size))
        read = self._read([np.concatenate([chunks[step] for step in group]) for group in groups], margin=augment)
        for group, (index, crops) in zip(groups, read, strict=True):
            batch = self._augmented(index, crops, drawn) if augment else self._plain(index, crops)
            end = 0
            for step in group:
                start, end = end, end + len(chunks[step])
                yield batch.part(slice(start, end), weights[step])

    def in_order(
        self, batch_size: int, *, process: int = 0, processes: int = 1, change: Change | None = None
    ) -> Iterator[Batch]:
        """Yield every person once, in order, without augmentation. Each of n processes makes every n-th batch.

        `change` is applied to the inputs before they are normalised.
        """
        for index, crops in self._read(_chunks(self.rows, batch_size)[process::processes], margin=False):
            yield self._plain(index, crops, change)

    def input_to_photo(self) -> NDArray[np.float64]:
        """Return affines (P, 2, 3) from the network's input to the photograph, for every person of the store."""
        return geometry.translate_input(self.to_photo, self.margin)

    def _fits(self) -> bool:
        if self.device.type != "cuda":
            return False
        needed = len(self.rows) * self.side * self.side * 3
        return needed < RESIDENT_SHARE * torch.cuda.mem_get_info(self.device)[0]

    def _to_device(self) -> Tensor:
        resident = torch.empty((len(self.rows), self.side, self.side, 3), dtype=torch.uint8, device=self.device)
        for start in range(0, len(self.rows), 256):
            part = slice(start, start + 256)
            resident[part] = torch.from_numpy(self._crops[self.rows[part]]).to(self.device)
        return resident

    def _read(self, chunks: list[NDArray[np.int64]], margin: bool) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
        """Yield rows and their crops on the device, uint8: (B, S, S, 3) with the margin, else (B, H, W, 3)."""
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
        """Return crops in memory, pinned if they go to a GPU. Only the pixels that are needed are read."""
        side = self.side if inner == slice(None) else self.recipe.input_size
        crops = torch.empty((len(index), side, side, 3), dtype=torch.uint8, pin_memory=self.device.type == "cuda")
        into = crops.numpy()
        for place, row in enumerate(index):
            into[place] = self._crops[row, inner, inner]
        return crops

    def _plain(self, index: NDArray[np.int64], crops: Tensor, change: Change | None = None) -> Batch:
        images = crops.permute(0, 3, 1, 2).float()  # (B, 3, H, W), channels_last as the crops are
        if change is not None:
            images = change(images, index)
        return self._batch(images, self.joints[index] - self.margin, self.labelled[index], index)

    def _augmented(self, index: NDArray[np.int64], crops: Tensor, drawn: EpochAugmentation) -> Batch:
        matrix = augmentation.to_stored(drawn, index, self.side, self.recipe.input_size)
        images = warp(crops, matrix, self.recipe.input_size)
        moved = geometry.apply(geometry.invert(matrix), self.joints[index])
        flip = drawn.flip[index]
        labelled = self.labelled[index].copy()
        moved[flip] = moved[flip][:, J.FLIP_INDEX]
        labelled[flip] = labelled[flip][:, J.FLIP_INDEX]
        return self._batch(images, moved, labelled, index)

    def _batch(self, images: Tensor, joints: NDArray, labelled: NDArray, index: NDArray[np.int64]) -> Batch:
        """Normalise `images` (B, 3, H, W; 0..255) in place, and draw the targets of `joints` (input pixels)."""
        recipe = self.recipe
        if recipe.colours == "bgr":  # before normalising: such a network subtracts red's mean from the first channel
            images = images.flip(1)
        # the original study's cells, int(64 x / W), count from the edge of a pixel, the others from its centre
        cells = (joints + 0.5) / HEATMAP_STRIDE if recipe.target_centre == "truncated" else joints / HEATMAP_STRIDE
        cells = upload(cells, self.device, torch.float32)
        shown = upload(labelled, self.device)
        targets, mask = generate_heatmaps(cells, shown, recipe.heatmap_size, recipe.sigma, recipe.target_centre)
        return Batch(images.sub_(self._mean).mul_(self._per_sd), targets, mask, index)


def _chunks(order: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    return [order[start : start + size] for start in range(0, len(order), size)]


# ---- Heatmap targets.


def generate_heatmaps(joints: Tensor, labelled: Tensor, size: int, sigma: float, centre: str) -> tuple[Tensor, Tensor]:
    """Return Gaussian targets of peak 1, and the joint mask.

    Args:
        joints: (B, K, 2) in heatmap cells, cell centres at integers (input pixel / 4). Values of joints that are not
            labelled are ignored.
        labelled: (B, K) bool.
        size: cells per side.
        sigma: standard deviation in cells.
        centre: "nearest": at the cell int(x + .5), within a patch of 3 sigma (Xiao et al. 2018).
            "exact": at x. "truncated": at the cell int(x) (the original study).

    Returns:
        Targets (B, K, size, size) and mask (B, K). The mask is 1 for a labelled joint whose patch ("nearest") overlaps
        the map, or whose centre ("exact", "truncated") lies in it.
    """
    joints = torch.where(labelled[..., None], joints.float(), torch.full_like(joints, -1e4, dtype=torch.float32))
    if centre == "nearest":
        joints = torch.trunc(joints + 0.5)  # as int() in the public code: towards zero, also below zero
    elif centre == "truncated":
        joints = torch.trunc(joints)
    radius = int(PATCH_RADIUS * sigma)
    reach = radius + 0.5 if centre == "nearest" else 0.0  # of a target beyond the cell of its centre
    inside = ((joints > -0.5 - reach) & (joints < size - 0.5 + reach)).all(-1)
    mask = (labelled & inside).float()
    cells = torch.arange(size, device=joints.device, dtype=torch.float32)
    distance = cells - joints[..., None]  # (B, K, 2, size)
    bump = torch.exp(-0.5 * (distance / sigma) ** 2)
    if centre == "nearest":
        bump = bump * (distance.abs() <= radius)
    bump = bump * mask[..., None, None]
    return bump[:, :, 1, :, None] * bump[:, :, 0, None, :], mask  # rows are y


# ---- Warping stored crops.


def warp(crops: Tensor, matrix: NDArray[np.float64], size: int) -> Tensor:
    """Warp crops bilinearly, zero outside: as `cv2.warpAffine` with WARP_INVERSE_MAP, without its rounding.

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
    """Return grid_sample's grid (B, size, size, 2) for affines (B, 2, 3) from result pixels to crop pixels."""
    to_unit = matrix * (2 / (side - 1))  # -1 is the centre of the first pixel, 1 that of the last
    to_unit[..., 2] -= 1
    theta = upload(to_unit, device, torch.float32)
    pixels = torch.arange(size, device=device, dtype=torch.float32)
    x = pixels[:, None] * theta[:, None, :, 0]  # (B, size, 2)
    y = pixels[:, None] * theta[:, None, :, 1] + theta[:, None, :, 2]
    return x[:, None] + y[:, :, None]  # (B, size, size, 2)


# ---- Copying to the device, and reading ahead.


def upload(array: NDArray, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """Return the array as a tensor on the device.

    The copy to a GPU goes through pinned memory and is asynchronous. A copy from ordinary memory would wait for all
    steps that were queued before it. PyTorch's caching allocator keeps the pinned block until the copy is done.
    """
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    if dtype is not None:
        tensor = tensor.to(dtype)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def prefetched(items: Iterable[T], depth: int = 2) -> Iterator[T]:
    """Yield the same items in the same order, while a thread makes up to `depth` of them ahead.

    The thread ends with this iterator: after the last item, when the consumer stops early, and when making an item
    fails. Such an error is raised here.
    """
    made, end = iter(items), object()
    pool = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
    try:
        ready = deque(pool.submit(next, made, end) for _ in range(depth + 1))  # the last is being made
        while (item := ready.popleft().result()) is not end:
            ready.append(pool.submit(next, made, end))
            yield item  # type: ignore[misc]  # the end is not yielded
    finally:
        pool.shutdown(cancel_futures=True)
