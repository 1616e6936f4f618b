"""Load a checkpoint and the data set it is scored on.

`open_checkpoint` loads the checkpoint of a run, or of another code base. `open_data` prepares its data set. `identity`,
`grid_settings` and `people_sha256` say in result files which network was measured, and on whom. `load_network` loads a
network for `predict`.
"""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from numpy.typing import NDArray
from torch import Tensor

from pose_topo.core.errors import PoseTopoError, UsageError
from pose_topo.core.files import sha256_file
from pose_topo.core.log import log
from pose_topo.core.machine import pick_device, pick_precision
from pose_topo.data.batches import IMAGENET_MEAN, IMAGENET_SD
from pose_topo.data.dataset import prepare
from pose_topo.data.people import Dataset, People
from pose_topo.models.foreign import ConvertedCheckpoint, convert, is_ordinary, listed, unwrap
from pose_topo.models.pose import SimpleBaseline, TopoModel, build_model, check_finite, heatmaps
from pose_topo.scoring.decoding import decode
from pose_topo.study import runs
from pose_topo.study.config import Data, Recipe, RunConfig
from pose_topo.study.lattice import Lattice
from pose_topo.study.protocols import as_protocol, deviations

OTHER_PEOPLE = "these are not the people that the network was trained on and tested with"


@dataclass(frozen=True)
class LoadedNetwork:
    """A network in evaluation mode, and the contents of its checkpoint.

    Attributes:
        path: The checkpoint file.
        config: The settings of its run. For a foreign checkpoint, the settings that were inferred from it.
        model: The network, on `device`.
        device: The device.
        epochs: The number of trained epochs. None if it is unknown.
        split_sha256: The hash of the split it was trained on. None if it is unknown.
        foreign: The conversion of a checkpoint of another code base. None for a checkpoint of this project.
    """

    path: Path
    config: RunConfig
    model: SimpleBaseline
    device: torch.device
    epochs: int | None
    split_sha256: str | None
    foreign: ConvertedCheckpoint | None


def open_checkpoint(run: str | Path, device: str = "auto") -> LoadedNetwork:
    """Load the reported checkpoint of a run, or a checkpoint file of this project or of another code base.

    models/foreign.py lists the other code bases.

    Raises:
        PoseTopoError: There is no such run or checkpoint, or the weights do not fit the network that it names.
    """
    path = runs.reported_checkpoint(run)
    content = runs.read_content(path)
    where = pick_device(device)
    if runs.is_ours(content):
        own = runs.parse_checkpoint(path, content)
        model = build_model(own.config)
        fill(model, own.model, path)
        return LoadedNetwork(path, own.config, _ready(model, where), where, own.epoch, own.split_sha256, None)
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
    return LoadedNetwork(path, foreign.config, _ready(model, where), where, None, None, foreign)


def _ready(model: SimpleBaseline, device: torch.device) -> SimpleBaseline:
    return model.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]  # torch's stubs lack memory_format here


def fill(
    model: torch.nn.Module, state: Mapping[str, Tensor], path: Path, named: Callable[[str], str] = lambda key: key
) -> None:
    """Load a state dict that must fit the network exactly.

    Args:
        named: Translates a key of this project into the key in the file, for messages.

    Raises:
        PoseTopoError: Keys are missing or unknown, tensors have another shape or type, or values are not finite.
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


def build_named(name: str) -> torch.nn.Module:
    """The network that `torchvision:NAME` or `FILE.py:FUNCTION` names, without trained weights unless the function
    loads some. The function takes no arguments.

    Raises:
        UsageError: The name has another form, torchvision has no such model, there is no such file or function, or the
            function fails or returns no network.
    """
    source, _, what = name.rpartition(":")
    if source == "torchvision":
        known = torchvision.models.list_models()
        if what not in known:
            similar = ", ".join(get_close_matches(what, known, 4, 0.5)) or "resnet18"
            raise UsageError(f"--model {name}: torchvision has no such model; similar names: {similar}")
        return torchvision.models.get_model(what, weights=None)
    if not source.endswith(".py"):
        raise UsageError(f"--model {name}: give torchvision:NAME, or FILE.py:FUNCTION")
    if not Path(source).is_file():
        raise UsageError(f"--model {name}: there is no file {source}")
    sys.path.insert(0, str(Path(source).resolve().parent))  # the file may import its neighbours
    try:
        spec = spec_from_file_location(f"audited_{Path(source).stem}", source)
        assert spec is not None and spec.loader is not None  # a file with the suffix .py has a loader
        module = sys.modules[spec.name] = module_from_spec(spec)  # registered: dataclasses look it up
        spec.loader.exec_module(module)
        model = getattr(module, what)()
    except Exception as error:  # the code is the user's
        raise UsageError(f"--model {name}: {type(error).__name__}: {error}") from error
    finally:
        sys.path.pop(0)
    if not isinstance(model, torch.nn.Module):
        raise UsageError(f"--model {name}: {what}() returned {type(model).__name__}, not a torch.nn.Module")
    return model


def load_weights(model: torch.nn.Module, path: Path) -> None:
    """Load a state dict (.pt, .pth, .safetensors) that must fit the network exactly. Code in a pickle is never run.

    The state dict may lie under "state_dict" or "model", and its keys may begin with "module.".

    Raises:
        PoseTopoError: The file cannot be read or holds no state dict, or it does not fit.
    """
    content = runs.read_content(path)
    if isinstance(content, Mapping) and isinstance(content.get("model"), Mapping):
        content = content["model"]
    try:
        state = unwrap(content)
    except PoseTopoError as error:
        raise PoseTopoError(f"{path}: {error}") from None
    fill(model, state, path)


def _fits(value: Any, expected: Tensor) -> bool:
    """Whether `value` is an ordinary tensor of the expected shape, and floating-point (of any width) if that is."""
    if not is_ordinary(value):
        return False
    return value.shape == expected.shape and value.is_floating_point() == expected.is_floating_point()


def _shape(value: Any) -> str:
    return f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__


def open_data(
    opened: LoadedNetwork,
    data: Data | None,
    *,
    cache: Path | None = None,
    progress: bool = True,
) -> tuple[Dataset, str]:
    """The data set that a checkpoint was trained on, with the split of its training, and its name.

    Args:
        data: Take the files from here instead. Required for a foreign checkpoint, whose data are split as its protocol
            does with seed 0.

    Raises:
        PoseTopoError: The data are missing. Or `data` is None and the data have changed since the training, so that
            people might be scored that the network was trained on.
        UsageError: `data` is None for a foreign checkpoint.
    """
    config = opened.config
    where = config.data
    if opened.foreign is not None and data is None:
        raise UsageError(f"{opened.path} comes from elsewhere and names no data: give --data")
    if data is not None:
        where = replace(where, mat_path=data.mat_path, img_dir=data.img_dir, name=data.name)
    dataset = prepare(where, config.recipe, seed=config.seed, cache=cache, progress=progress)
    if data is None and _other_people(opened, dataset):
        raise PoseTopoError(f"{where.mat_path}: {OTHER_PEOPLE}: the data have changed; --data names others on purpose")
    for line in _doubts(opened, dataset):
        log.warning(f"{opened.path if line != OTHER_PEOPLE else where.mat_path}: {line}")
    return dataset, where.name


def _other_people(opened: LoadedNetwork, dataset: Dataset) -> bool:
    return opened.foreign is None and dataset.split_sha256 != opened.split_sha256


def _doubts(opened: LoadedNetwork, dataset: Dataset) -> list[str]:
    """The doubts about network and people that a result file must name, because its settings do not show them."""
    if opened.foreign is not None:  # both published systems were trained on the training people of Tompson's split
        rule = dataset.split.rule
        doubt = f"the network may have been trained on people who are scored here (split: {rule})"
        return [] if rule == "tompson" else [doubt]
    recipe, doubts = opened.config.recipe, [OTHER_PEOPLE] if _other_people(opened, dataset) else []
    if opened.epochs is not None and opened.epochs < recipe.epochs and not _finished(opened):
        doubts.append(f"{opened.epochs} of {recipe.epochs} epochs were trained")
    return doubts


def _finished(opened: LoadedNetwork) -> bool:
    """Whether the training ended before its last epoch by its own rules: early stopping, or an earlier epoch was best.

    This cannot be known for a checkpoint outside its run's folder; it then counts as finished.
    """
    recipe, folder = opened.config.recipe, opened.path.parent
    early = recipe.patience is not None or recipe.report == "best"
    return early and ((folder / "provenance.json").is_file() or not (folder / "last.pt").is_file())


def identity(opened: LoadedNetwork, dataset: Dataset, asked: Recipe | None = None) -> dict[str, Any]:
    """The entries of a result file that identify its network.

    Args:
        asked: The recipe of the evaluation, if it is not the recipe of the run.
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


def grid_of(model: SimpleBaseline) -> Lattice:
    """The lattice of the layer. The channels of a baseline have an arbitrary arrangement, as square as possible."""
    if isinstance(model, TopoModel):
        return model.topo.lattice
    return Lattice.squarest(model.head.in_channels)


def grid_settings(config: RunConfig, lattice: Lattice, *, known: bool) -> dict[str, Any]:
    """The settings of the grid and of the spatial loss. None where they are unknown or do not apply."""
    topography = config.topography if known else None
    return {
        "model": config.model,
        "grid": {
            "height": lattice.height,
            "width": lattice.width,
            "neighbours": lattice.neighbours,
            "torus": lattice.torus,
        },
        "topo_lr_mult": config.recipe.topo_lr_mult if topography else None,
        "lambda": topography.weight if topography else None,
        "topo_loss": topography.loss if topography else None,
        "permuted": topography.permuted if topography else None,
    }


def people_sha256(people: People) -> str:
    """The sha256 of "photograph person" lines: which people were measured, and in which order."""
    lines = (f"{name} {person}\n" for name, person in zip(people.names, people.person.tolist(), strict=True))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def plain(value: Any) -> Any:
    """Replace NaN by None at all depths, because JSON has no NaN."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value


@dataclass(frozen=True)
class Network:
    """A trained network that predicts joints, with the recipe it was trained with. `sha256` is of its checkpoint."""

    model: torch.nn.Module
    recipe: Recipe
    device: torch.device
    precision: str
    sha256: str

    def joints(self, inputs: list[NDArray[np.uint8]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Joints (B, 16, 2) in pixels of the inputs, and their confidences (B, 16).

        Args:
            inputs: B pictures (S, S, 3), RGB.

        Raises:
            PoseTopoError: The output of the network is not finite.
        """
        mean, sd = (torch.tensor(v, device=self.device) for v in (IMAGENET_MEAN, IMAGENET_SD))
        if self.recipe.colours == "bgr":  # swapped first: mean and deviation apply to channel positions
            inputs = [picture[..., ::-1] for picture in inputs]
        pixels = (torch.from_numpy(np.stack(inputs)).to(self.device).float() / 255 - mean) / sd
        images = pixels.permute(0, 3, 1, 2)  # (B, 3, S, S), channels_last as the inputs are
        recipe = self.recipe
        maps = heatmaps(
            self.model, images, flip_test=recipe.flip_test, precision=self.precision, shift=recipe.flip_shift
        )
        points, confidence = decode(maps, recipe.decode, recipe.sigma)
        points, confidence = points.double().cpu().numpy(), confidence.double().cpu().numpy()
        check_finite(confidence)
        return points, confidence

    def identity(self) -> dict[str, Any]:
        """The entries of keypoints.json that identify the network and its settings."""
        recipe = self.recipe
        settings = {"decode": recipe.decode, "flip_test": recipe.flip_test, "framing": recipe.framing}
        return {"checkpoint_sha256": self.sha256, "settings": {**settings, "precision": self.precision}}


def load_network(checkpoint: str | Path = runs.RELEASED, device: str = "auto", precision: str = "auto") -> Network:
    """Load a trained network, ready for `predict`.

    Args:
        checkpoint: The folder of a run, or a checkpoint file of this project, of the original study, of Microsoft or of
            mmpose (docs/elsewhere.md). Default: the network that comes with pose_topo (pose_topo/released/README.md).
        device: "auto", "cpu", "cuda" or "cuda:N".
        precision: "auto" (bf16 if the hardware supports it), "fp32" or "bf16".

    Returns:
        The network with the recipe it was trained with. `network.model` is the torch module.

    Raises:
        PoseTopoError: There is no such checkpoint, or its network is of an unknown kind.
    """
    opened = open_checkpoint(checkpoint, device)
    precise = pick_precision(precision, opened.device)
    return Network(opened.model, opened.config.recipe, opened.device, precise, sha256_file(opened.path))
