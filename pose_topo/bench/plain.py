"""The training loop that public code commonly has, for `make bench` to hold ours against: a `Dataset` that reads, warps
and draws one person at a time with OpenCV and NumPy; fp32, contiguous memory, `loss.item()` in every step."""

from __future__ import annotations

from itertools import chain, count, islice
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from pose_topo import joints as J
from pose_topo.config import HEATMAP_STRIDE, Recipe, RunConfig
from pose_topo.data import geometry
from pose_topo.data.augmentation import SPREADS
from pose_topo.data.batches import IMAGENET_MEAN, IMAGENET_SD
from pose_topo.data.people import People
from pose_topo.devices import seed_everything
from pose_topo.models.pose import TopoModel, build_model


class PlainPeople(Dataset):
    """One person an item: picture (3, H, W), heatmaps (16, H/4, W/4), weights (16, 1, 1)."""

    def __init__(self, people: People, img_dir: Path, recipe: Recipe) -> None:
        self.people, self.names, self.img_dir, self.recipe = people, people.names, img_dir, recipe
        self.rng = np.random.default_rng(0)

    def __len__(self) -> int:
        return len(self.people)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        size, spread, people = self.recipe.input_size, SPREADS["standard"], self.people
        photo = cv2.imread(str(self.img_dir / self.names[i]), cv2.IMREAD_COLOR_RGB)
        assert photo is not None
        scale = 1 + np.clip(spread.scale_sd * self.rng.standard_normal(), -spread.scale_limit, spread.scale_limit)
        angle = np.clip(spread.rotation_sd * self.rng.standard_normal(), -spread.rotation_limit, spread.rotation_limit)
        angle = angle if self.rng.random() < spread.rotation_share else 0.0
        to_photo = geometry.person_to_photo(people.center[i : i + 1], people.scale[i : i + 1] * scale, size)
        turn = geometry.invert(to_photo)[0]
        turn = (
            np.vstack([cv2.getRotationMatrix2D((size / 2, size / 2), angle, 1.0), [0, 0, 1]])
            @ np.vstack([turn, [0, 0, 1]])
        )[:2]
        picture = cv2.warpAffine(photo, turn, (size, size), flags=cv2.INTER_LINEAR)
        joints, labelled = people.joints[i] @ turn[:, :2].T + turn[:, 2], people.labelled[i]
        if self.rng.random() < spread.flip_share:
            picture = picture[:, ::-1]
            joints = (joints * [-1, 1] + [size - 1, 0])[list(J.FLIP_INDEX)]
            labelled = labelled[list(J.FLIP_INDEX)]
        tensor = torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1))).float() / 255
        mean, sd = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_SD))
        heat = torch.from_numpy(self._targets(joints / HEATMAP_STRIDE, labelled))
        return (tensor - mean) / sd, heat, torch.from_numpy(labelled).float().view(-1, 1, 1)

    def _targets(self, cells: NDArray[np.float64], labelled: NDArray[np.bool_]) -> NDArray[np.float32]:
        size, sigma = self.recipe.heatmap_size, self.recipe.sigma
        grid = np.arange(size, dtype=np.float32)
        heat = np.zeros((len(cells), size, size), np.float32)
        for k, (x, y) in enumerate(cells):
            if labelled[k]:
                heat[k] = np.exp(-((grid[None] - round(x)) ** 2 + (grid[:, None] - round(y)) ** 2) / (2 * sigma**2))
        return heat


class PlainLoop:
    """The loop itself, which goes on where it was."""

    def __init__(self, people: People, img_dir: Path, config: RunConfig, device: torch.device) -> None:
        seed_everything(0)
        self.config, self.device, self.loss = config, device, 0.0
        self.model = build_model(config).to(device).train()
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-4)
        self.loader = DataLoader(
            PlainPeople(people, img_dir, config.recipe), config.recipe.batch_size, shuffle=True, drop_last=True
        )

    def run(self, steps: int) -> None:
        """Take some steps."""
        endless = chain.from_iterable(self.loader for _ in count())
        for images, heatmaps, weights in islice(endless, steps):
            found = self.model(images.to(self.device))
            loss = 0.5 * ((found - heatmaps.to(self.device)) * weights.to(self.device)).square().mean()
            if isinstance(self.model, TopoModel) and self.config.topography is not None:
                loss = loss + self.config.topography.weight * self.model.topo_reg_loss()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.loss += loss.item()
