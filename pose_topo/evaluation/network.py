"""A trained network, and what it takes to ask it for joints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pose_topo.config import Recipe
from pose_topo.data.batches import IMAGENET_MEAN, IMAGENET_SD
from pose_topo.devices import pick_precision
from pose_topo.evaluation.checkpoints import open_checkpoint
from pose_topo.evaluation.decoding import decode
from pose_topo.evaluation.inference import check_finite, heatmaps
from pose_topo.files import sha256_file


@dataclass(frozen=True)
class Network:
    """A trained network and what it takes to ask it."""

    model: torch.nn.Module
    recipe: Recipe
    device: torch.device
    precision: str
    sha256: str  # of the checkpoint

    @staticmethod
    def open(checkpoint: Path, device: str, precision: str, say: Callable[[str], None]) -> Network:
        """The network of a run folder or of a checkpoint.

        Raises:
            PoseTopoError: no such checkpoint.
        """
        opened = open_checkpoint(checkpoint, device, say)
        precise = pick_precision(precision, opened.device)
        return Network(opened.model, opened.config.recipe, opened.device, precise, sha256_file(opened.path))

    def joints(self, inputs: list[NDArray[np.uint8]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Joints (B, 16, 2) in pixels of the inputs, each (S, S, 3) RGB, and confidences (B, 16).

        Raises:
            PoseTopoError: the network answers with numbers that are not finite.
        """
        mean, sd = (torch.tensor(v, device=self.device) for v in (IMAGENET_MEAN, IMAGENET_SD))
        if self.recipe.colours == "bgr":  # before the mean and deviation, which are of the channels it knows
            inputs = [picture[..., ::-1] for picture in inputs]
        pixels = (torch.from_numpy(np.stack(inputs)).to(self.device).float() / 255 - mean) / sd
        images = pixels.permute(0, 3, 1, 2)  # (B, 3, S, S), channels_last as the inputs are
        recipe = self.recipe
        asked = {"flip_test": recipe.flip_test, "shift": recipe.flip_shift}
        maps = heatmaps(self.model, images, precision=self.precision, **asked)
        points, sure = decode(maps, recipe.decode, recipe.sigma)
        confidence = sure.double().cpu().numpy()
        check_finite(confidence)
        return points.double().cpu().numpy(), confidence

    def identity(self) -> dict[str, Any]:
        """Which network answered, and how it was asked, as result files say it."""
        recipe = self.recipe
        asked = {"decode": recipe.decode, "flip_test": recipe.flip_test, "framing": recipe.framing}
        return {"checkpoint_sha256": self.sha256, "settings": {**asked, "precision": self.precision}}
