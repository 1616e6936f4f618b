"""Where a network comes in: a run's checkpoint or somebody else's, and the people it is asked about."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pose_topo.core.devices import pick_device, pick_precision
from pose_topo.core.errors import PoseTopoError, UsageError
from pose_topo.core.files import sha256_file
from pose_topo.core.log import log
from pose_topo.data.batches import IMAGENET_MEAN, IMAGENET_SD
from pose_topo.data.dataset import prepare
from pose_topo.data.people import Dataset
from pose_topo.models.foreign import Foreign, convert, is_ordinary, listed
from pose_topo.models.pose import SimpleBaseline, build_model
from pose_topo.models.prediction import check_finite, heatmaps
from pose_topo.scoring.decoding import decode
from pose_topo.study import runs
from pose_topo.study.config import Data, Recipe, RunConfig
from pose_topo.study.protocols import as_protocol, deviations

OTHERS = "these are not the people that the network was trained on and tested with"


@dataclass(frozen=True)
class Opened:
    """A network ready to be asked, and what its file says of it."""

    path: Path
    config: RunConfig
    model: SimpleBaseline  # on `device`, in evaluation mode
    device: torch.device
    epochs: int | None
    split_sha256: str | None  # None: from elsewhere, nobody knows
    foreign: Foreign | None  # None: our own


def open_checkpoint(run: str | Path, device: str = "auto") -> Opened:
    """Open a run's reported checkpoint, or a checkpoint file of ours or of another code (models/foreign.py).

    Raises:
        PoseTopoError: no such run, no checkpoint, or weights that are not those of the network it says it is.
    """
    path = runs.reported_checkpoint(run)
    content = runs.read_content(path)
    where = pick_device(device)
    if runs.is_ours(content):
        own = runs.parse_checkpoint(path, content)
        model = build_model(own.config)
        fill(model, own.model, path)
        return Opened(path, own.config, _ready(model, where), where, own.epoch, own.split_sha256, None)
    try:
        foreign = convert(content, path.name)
    except PoseTopoError as error:
        raise PoseTopoError(f"{path} is not a checkpoint that can be read: {error}") from None
    model = build_model(foreign.config)
    fill(model, foreign.state, path, foreign.layout.theirs)
    for line in foreign.notes:
        log.info(f"{path.name}: {line}")
    log.info(
        f"{path.name}: {foreign.config.arch}, {foreign.config.model}, {foreign.config.recipe.colours.upper()} input"
    )
    return Opened(path, foreign.config, _ready(model, where), where, None, None, foreign)


def _ready(model: SimpleBaseline, device: torch.device) -> SimpleBaseline:
    return model.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]


def fill(
    model: torch.nn.Module, state: Mapping[str, Tensor], path: Path, named: Callable[[str], str] = lambda key: key
) -> None:
    """Load a state dict that must fit the network exactly.

    Args:
        named: our key -> what the file calls it.

    Raises:
        PoseTopoError: keys missing or unknown, tensors of another shape or kind, or numbers that are not finite; all
            of the first kind that is found are listed.
    """
    expected = model.state_dict()
    wrong = {key for key in expected.keys() & state.keys() if not _fits(state[key], expected[key])}
    problems = {
        "missing": {named(key) for key in expected.keys() - state.keys()},
        "unknown": {named(key) for key in state.keys() - expected.keys()},
        "not of the right shape or type": {
            f"{named(key)} {_shape(state[key])} (here {tuple(expected[key].shape)})" for key in wrong
        },
    }
    if any(problems.values()):
        said = "; ".join(f"{what}: {listed(names)}" for what, names in problems.items() if names)
        raise PoseTopoError(f"{path}: weights do not fit: {said}")
    if broken := [named(key) for key, value in state.items() if not value.float().isfinite().all()]:
        raise PoseTopoError(f"{path}: weights are not finite: {listed(broken)}")
    model.load_state_dict(state)


def _fits(value: Any, expected: Tensor) -> bool:
    """Whether an ordinary tensor of the expected shape, and floating where that is (of any width)."""
    return (
        is_ordinary(value)
        and value.shape == expected.shape
        and value.is_floating_point() == expected.is_floating_point()
    )


def _shape(value: Any) -> str:
    return f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__


def open_data(
    opened: Opened,
    data: Data | None,
    *,
    cache: Path | None = None,
    progress: bool = True,
) -> tuple[Dataset, str]:
    """The data set a checkpoint was trained on, split as it was then, and its name; for a checkpoint from elsewhere
    `data`, split as its protocol does with seed 0.

    Args:
        data: take the files from here instead: the same data elsewhere, or another data set.

    Raises:
        PoseTopoError: the data are missing, or no longer those of the training, so that people it was trained on might
            be scored.
        UsageError: no `data` for a checkpoint from elsewhere.
    """
    config = opened.config
    where = config.data
    if opened.foreign is not None and data is None:
        raise UsageError(f"{opened.path} comes from elsewhere and names no data: give --data")
    if data is not None:
        where = replace(where, mat_path=data.mat_path, img_dir=data.img_dir, name=data.name)
    dataset = prepare(where, config.recipe, seed=config.seed, cache=cache, progress=progress)
    if data is None and _asks_others(opened, dataset):
        raise PoseTopoError(f"{where.mat_path}: {OTHERS}: the data have changed; --data names others on purpose")
    for line in _doubts(opened, dataset):
        log.warning(f"{opened.path if line != OTHERS else where.mat_path}: {line}")
    return dataset, where.name


def _asks_others(opened: Opened, dataset: Dataset) -> bool:
    return opened.foreign is None and dataset.split_sha256 != opened.split_sha256


def _doubts(opened: Opened, dataset: Dataset) -> list[str]:
    """What a result must say of its network and people, since its settings do not."""
    if opened.foreign is not None:  # both published systems were trained on Tompson's training people
        rule = dataset.split.rule
        doubt = f"the network may have been trained on people who are scored here (split: {rule})"
        return [] if rule == "tompson" else [doubt]
    recipe, found = opened.config.recipe, [OTHERS] if _asks_others(opened, dataset) else []
    if opened.epochs is not None and opened.epochs < recipe.epochs and not _finished(opened):
        found.append(f"{opened.epochs} of {recipe.epochs} epochs were trained")
    return found


def _finished(opened: Opened) -> bool:
    """Whether training ended before its last epoch by its own rules: it was stopped early, or an earlier epoch was the
    best. Of a checkpoint that lies alone nobody knows."""
    recipe, folder = opened.config.recipe, opened.path.parent
    early = recipe.patience is not None or recipe.report == "best"
    return early and ((folder / "provenance.json").is_file() or not (folder / "last.pt").is_file())


def identity(opened: Opened, dataset: Dataset, asked: Recipe | None = None) -> dict[str, Any]:
    """Which network a result belongs to, as every result file says it.

    Args:
        asked: how it was asked, where that is not its run's own recipe.
    """
    config, foreign = opened.config, opened.foreign
    own = foreign is None
    doubts = _doubts(opened, dataset)
    if own and asked is not None:
        doubts += [
            f"{name.replace('_', ' ')} {getattr(asked, name)} (the run: {getattr(config.recipe, name)})"
            for name in ("decode", "flip_test")
            if getattr(asked, name) != getattr(config.recipe, name)
        ]
    return {
        "arm": config.arm if own else None,
        "seed": config.seed if own else None,
        "arch": config.arch,
        "protocol": config.recipe.protocol,
        "epochs": opened.epochs,
        "as_protocol": as_protocol(config) and not doubts if own else None,
        "checkpoint": None if own else foreign.record(),
        "deviations": [*deviations(config), *([] if own else foreign.notes), *doubts],
    }


# ---- A trained network, and what it takes to ask it for joints.


@dataclass(frozen=True)
class Network:
    """A trained network and what it takes to ask it."""

    model: torch.nn.Module
    recipe: Recipe
    device: torch.device
    precision: str
    sha256: str  # of the checkpoint

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


def load_network(checkpoint: str | Path, device: str = "auto", precision: str = "auto") -> Network:
    """Load a trained network, ready for `predict`.

    Args:
        checkpoint: a run's folder, or a checkpoint file: one of this project's, of the original study's, of
            Microsoft's or of mmpose's (docs/elsewhere.md).
        device: "auto", "cpu", "cuda" or "cuda:N".
        precision: "auto" (bf16 where the hardware multiplies it), "fp32" or "bf16".

    Returns:
        The network with the recipe that it was trained by. `network.model` is the torch module.

    Raises:
        PoseTopoError: there is no such checkpoint, or it holds no network that is known here.
    """
    opened = open_checkpoint(checkpoint, device)
    precise = pick_precision(precision, opened.device)
    return Network(opened.model, opened.config.recipe, opened.device, precise, sha256_file(opened.path))
