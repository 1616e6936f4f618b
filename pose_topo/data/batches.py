"""CropStore -> batches on the device: augmented pictures, heatmap targets and their weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pose_topo import joints as J
from pose_topo.config import HEATMAP_STRIDE, Recipe
from pose_topo.data import augmentation, geometry
from pose_topo.data.augmentation import Draws
from pose_topo.data.crops import CropStore
from pose_topo.data.people import People
from pose_topo.data.targets import generate_heatmaps

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_SD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Batch:
    """B people on the device."""

    images: Tensor  # (B, 3, H, W) normalised RGB, channels_last
    targets: Tensor  # (B, 16, H/4, W/4)
    weights: Tensor  # (B, 16)
    index: NDArray[np.int64]  # (B,) rows of the store


class Batches:
    """The people `rows` of a store, served in batches."""

    def __init__(
        self, store: CropStore, people: People, rows: NDArray[np.int64], recipe: Recipe, device: torch.device
    ) -> None:
        self.rows, self.recipe, self.device = np.asarray(rows), recipe, device
        self.side = store.settings.side
        self.margin = (self.side - recipe.input_size) // 2
        self.to_photo = store.to_photo
        self.joints = geometry.apply(geometry.invert(store.to_photo), people.joints)  # (P, 16, 2) stored-crop pixels
        self.labelled = people.labelled
        self._crops = store.crops
        self._resident = self._to_device() if self._fits() else None
        self._mean = torch.tensor(IMAGENET_MEAN, device=device) * 255
        self._sd = torch.tensor(IMAGENET_SD, device=device) * 255

    def __len__(self) -> int:
        return len(self.rows)

    def epoch(self, seed: int, epoch: int, batch_size: int) -> Iterator[Batch]:
        """One epoch of training batches: every person once, in random order. A last batch of one person is left out
        (BatchNorm cannot take it)."""
        draws = augmentation.draw_epoch(len(self.joints), seed, epoch, self.recipe.augment)
        # the permutation is over all people of the store, so that a person's place in it does not depend on the split
        order = draws.order[np.isin(draws.order, self.rows)]
        for start in range(0, len(order), batch_size):
            index = order[start : start + batch_size]
            if len(index) > 1:
                yield self._augmented(index, draws) if self.recipe.augment else self._plain(index)

    def in_order(self, batch_size: int) -> Iterator[Batch]:
        """Every person once, in order, without augmentation."""
        for start in range(0, len(self.rows), batch_size):
            yield self._plain(self.rows[start : start + batch_size])

    def input_to_photo(self) -> NDArray[np.float64]:
        """Affines (P, 2, 3) from the network's input to the photograph, for every person of the store."""
        return geometry.translate_input(self.to_photo, self.margin)

    def _fits(self) -> bool:
        """Whether the crops may live on the device: in half of the GPU memory that is free now."""
        if self.device.type != "cuda":
            return False
        needed = len(self.rows) * self.side * self.side * 3
        return needed < 0.5 * torch.cuda.mem_get_info(self.device)[0]

    def _to_device(self) -> Tensor:
        resident = torch.empty((len(self._crops), self.side, self.side, 3), dtype=torch.uint8, device=self.device)
        for start in range(0, len(self.rows), 256):
            part = self.rows[start : start + 256]
            resident[torch.from_numpy(part).to(self.device)] = torch.from_numpy(self._crops[part]).to(self.device)
        return resident

    def _gather(self, index: NDArray[np.int64]) -> Tensor:
        """Stored crops (B, S, S, 3) uint8 on the device."""
        if self._resident is not None:
            return self._resident[torch.from_numpy(index).to(self.device)]
        return torch.from_numpy(self._crops[index]).to(self.device)

    def _normalise(self, pictures: Tensor) -> Tensor:
        """(B, H, W, 3) in 0..255 -> (B, 3, H, W) normalised; the permuted view is channels_last already."""
        return ((pictures.float() - self._mean) / self._sd).permute(0, 3, 1, 2)

    def _plain(self, index: NDArray[np.int64]) -> Batch:
        inner = slice(self.margin, self.margin + self.recipe.input_size)
        if self._resident is None:  # slice before copying: the margin is two thirds of the bytes
            crops = torch.from_numpy(np.stack([self._crops[i, inner, inner] for i in index])).to(self.device)
        else:
            crops = self._gather(index)[:, inner, inner]
        return self._batch(self._normalise(crops), self.joints[index] - self.margin, self.labelled[index], index)

    def _augmented(self, index: NDArray[np.int64], draws: Draws) -> Batch:
        size = self.recipe.input_size
        matrix = augmentation.to_stored(draws, index, self.side, size)
        crops = self._gather(index).permute(0, 3, 1, 2).float()
        images = F.grid_sample(crops, _sampling_grid(matrix, self.side, size, self.device), align_corners=True)
        moved = geometry.apply(geometry.invert(matrix), self.joints[index])
        flip = draws.flip[index]
        labelled = self.labelled[index].copy()
        moved[flip] = moved[flip][:, J.FLIP_INDEX]
        labelled[flip] = labelled[flip][:, J.FLIP_INDEX]
        return self._batch(self._normalise(images.permute(0, 2, 3, 1)), moved, labelled, index)

    def _batch(self, images: Tensor, joints: NDArray, labelled: NDArray, index: NDArray[np.int64]) -> Batch:
        recipe = self.recipe
        # an edge-based cell (the study's int(64 x / W)) against a centre-based one
        cells = (joints + 0.5) / HEATMAP_STRIDE if recipe.target_centre == "truncated" else joints / HEATMAP_STRIDE
        targets, weights = generate_heatmaps(
            torch.from_numpy(cells).to(self.device, torch.float32),
            torch.from_numpy(labelled).to(self.device),
            recipe.heatmap_size,
            recipe.sigma,
            recipe.target_centre,
        )
        return Batch(images, targets, weights, index)


def _sampling_grid(matrix: NDArray[np.float64], side: int, size: int, device: torch.device) -> Tensor:
    """grid_sample's grid (B, size, size, 2) for affines (B, 2, 3) from input pixels to stored-crop pixels."""
    theta = torch.from_numpy(matrix).to(device, torch.float32)
    pixels = torch.arange(size, device=device, dtype=torch.float32)
    x = theta[:, :, 0, None] * pixels  # (B, 2, size)
    y = theta[:, :, 1, None] * pixels
    where = x[:, :, None, :] + y[:, :, :, None] + theta[:, :, 2, None, None]  # (B, 2, size, size)
    return (where * (2 / (side - 1)) - 1).permute(0, 2, 3, 1)
