"""Load a checkpoint and the data set it is scored on.

`load_network` loads the checkpoint of a run, or of another code base. `open_data` prepares its data set. `identity` and
`of_grid` say in result files which network was measured, and on whom.
"""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from difflib import get_close_matches
from functools import cached_property
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
from pose_topo.study.results import SCHEMAS

OTHER_PEOPLE = "these are not the people that the network was trained on and tested with"


@dataclass(frozen=True)
class Network:
    """A trained network in evaluation mode, and the contents of its checkpoint.

    Attributes:
        path: The checkpoint file.
        config: The settings of its run. For a foreign checkpoint, the settings that were inferred from it.
        model: The torch module, on `device`.
        device: The device.
        precision: "fp32" or "bf16".
        epochs: The number of trained epochs. None if it is unknown.
        split_sha256: The hash of the split it was trained on. None if it is unknown.
        foreign: The conversion of a checkpoint of another code base. None for a checkpoint of this project.
    """

    path: Path
    config: RunConfig
    model: SimpleBaseline
    device: torch.device
    precision: str
    epochs: int | None = None
    split_sha256: str | None = None
    foreign: ConvertedCheckpoint | None = None

    @property
    def recipe(self) -> Recipe:
        """The recipe it was trained with."""
        return self.config.recipe

    @cached_property
    def sha256(self) -> str:
        """The hash of the checkpoint file."""
        return sha256_file(self.path)

    def joints(self, inputs: list[NDArray[np.uint8]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Joints (B, 16, 2) in pixels of the inputs, and their confidences (B, 16).

        Args:
            inputs: B pictures (S, S, 3), RGB.

        Raises:
            PoseTopoError: The output of the network is not finite.
        """
        recipe = self.recipe
        mean, sd = (torch.tensor(v, device=self.device) for v in (IMAGENET_MEAN, IMAGENET_SD))
        if recipe.colours == "bgr":  # swapped first: mean and deviation apply to channel positions
            inputs = [picture[..., ::-1] for picture in inputs]
        pixels = (torch.from_numpy(np.stack(inputs)).to(self.device).float() / 255 - mean) / sd
        images = pixels.permute(0, 3, 1, 2)  # (B, 3, S, S), channels_last as the inputs are
        maps = heatmaps(
            self.model, images, flip_test=recipe.flip_test, precision=self.precision, shift=recipe.flip_shift
        )
        points, confidence = (values.double().cpu().numpy() for values in decode(maps, recipe.decode, recipe.sigma))
        check_finite(confidence)
        return points, confidence


def load_network(checkpoint: str | Path = runs.RELEASED, device: str = "auto", precision: str = "auto") -> Network:
    """Load a trained network.

    Args:
        checkpoint: The folder of a run, whose reported checkpoint is loaded, or a checkpoint file of this project, of
            the original study, of Microsoft or of mmpose (docs/elsewhere.md). Default: the network that comes with
            pose_topo (pose_topo/released/README.md).
        device: "auto", "cpu", "cuda" or "cuda:N".
        precision: "auto" (bf16 if the hardware supports it), "fp32" or "bf16".

    Raises:
        PoseTopoError: There is no such run or checkpoint, or the weights do not fit the network that it names.
    """
    path = runs.reported_checkpoint(checkpoint)
    content = runs.read_content(path)
    where = pick_device(device)
    foreign, about = None, {}
    if runs.is_ours(content):
        own = runs.parse_checkpoint(path, content)
        model = build_model(own.config)
        fill(model, own.model, path)
        config, about = own.config, {"epochs": own.epoch, "split_sha256": own.split_sha256}
    else:
        try:
            foreign = convert(content, path.name)
        except PoseTopoError as error:
            raise PoseTopoError(f"{path} is not a checkpoint that can be read: {error}") from None
        config = foreign.config
        model = build_model(config)
        fill(model, foreign.state, path, foreign.layout.theirs)
        colours = config.recipe.colours.upper()
        for line in (*foreign.notes, f"{config.arch}, {config.model}, {colours} input"):
            log.info(f"{path.name}: {line}")
    model = model.to(where, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]  # torch's stubs lack memory_format here
    return Network(path, config, model, where, pick_precision(precision, where), **about, foreign=foreign)


def fill(
    model: torch.nn.Module, state: Mapping[str, Tensor], path: Path, named: Callable[[str], str] = lambda key: key
) -> None:
    """Load a state dict that must fit the network exactly.

    Args:
        named: Translates a key of this project into the key in the file, for messages.

    Raises:
        PoseTopoError: Keys are missing or unknown, tensors have another shape or type, or values are not finite.
    """

    def fits(value: Any, wanted: Tensor) -> bool:
        same = is_ordinary(value) and value.shape == wanted.shape
        return same and value.is_floating_point() == wanted.is_floating_point()  # of any width

    expected = model.state_dict()
    wrong = {key for key in expected.keys() & state.keys() if not fits(state[key], expected[key])}
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


def _shape(value: Any) -> str:
    return f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__


def open_data(network: Network, data: Data | None, *, cache: Path | None = None, progress: bool = True) -> Dataset:
    """The data set that a checkpoint was trained on, with the split of its training.

    Args:
        data: Take the files from here instead. Required for a foreign checkpoint, whose data are split as its protocol
            does with seed 0.

    Raises:
        PoseTopoError: The data are missing. Or `data` is None and the data have changed since the training, so that
            people might be scored that the network was trained on.
        UsageError: `data` is None for a foreign checkpoint.
    """
    config, where = network.config, network.config.data
    if network.foreign is not None and data is None:
        raise UsageError(f"{network.path} comes from elsewhere and names no data: give --data")
    if data is not None:
        where = replace(where, mat_path=data.mat_path, img_dir=data.img_dir, name=data.name)
    dataset = prepare(where, config.recipe, seed=config.seed, cache=cache, progress=progress)
    doubts = _doubts(network, dataset)
    if data is None and OTHER_PEOPLE in doubts:
        raise PoseTopoError(f"{where.mat_path}: {OTHER_PEOPLE}: the data have changed; --data names others on purpose")
    for line in doubts:
        log.warning(f"{network.path if line != OTHER_PEOPLE else where.mat_path}: {line}")
    return dataset


def _doubts(network: Network, dataset: Dataset) -> list[str]:
    """The doubts about network and people that a result file must name, because its settings do not show them."""
    if network.foreign is not None:  # both published systems were trained on the training people of Tompson's split
        rule = dataset.split.rule
        doubt = f"the network may have been trained on people who are scored here (split: {rule})"
        return [] if rule == "tompson" else [doubt]
    doubts = [OTHER_PEOPLE] if dataset.split_sha256 != network.split_sha256 else []
    epochs, planned = network.epochs, network.recipe.epochs
    if epochs is not None and epochs < planned and not _finished(network):
        doubts.append(f"{epochs} of {planned} epochs were trained")
    return doubts


def _finished(network: Network) -> bool:
    """Whether the training ended before its last epoch by its own rules: early stopping, or an earlier epoch was best.

    This cannot be known for a checkpoint outside its run's folder; it then counts as finished.
    """
    recipe, folder = network.recipe, network.path.parent
    early = recipe.patience is not None or recipe.report == "best"
    return early and ((folder / "provenance.json").is_file() or not (folder / "last.pt").is_file())


def identity(kind: str, network: Network, dataset: Dataset, asked: Recipe | None = None) -> dict[str, Any]:
    """The entries with which every result file begins: its kind, its data, and which network it is about.

    Args:
        kind: A key of `SCHEMAS`.
        asked: The recipe of the evaluation, if it is not the recipe of the run.
    """
    config, foreign, recipe = network.config, network.foreign, network.recipe
    own = foreign is None
    doubts = _doubts(network, dataset)
    if own and asked is not None:
        doubts += [
            f"{name.replace('_', ' ')} {getattr(asked, name)} (the run: {getattr(recipe, name)})"
            for name in ("decode", "flip_test")
            if getattr(asked, name) != getattr(recipe, name)
        ]
    return {
        "schema": SCHEMAS[kind],
        "kind": kind,
        "checkpoint_sha256": network.sha256,
        "data_sha256": dataset.sha256,
        "arm": config.arm if own else None,
        "seed": config.seed if own else None,
        "arch": config.arch,
        "protocol": recipe.protocol,
        "epochs": network.epochs,
        "as_protocol": as_protocol(config) and not doubts if own else None,
        "checkpoint": None if own else foreign.record(),
        "deviations": [*deviations(config), *([] if own else foreign.notes), *doubts],
    }


def grid_of(model: SimpleBaseline) -> Lattice:
    """The lattice of the layer. The channels of a baseline have an arbitrary arrangement, as square as possible."""
    if isinstance(model, TopoModel):
        return model.topo.lattice
    return Lattice.squarest(model.head.in_channels)


def of_grid(network: Network, people: People) -> dict[str, Any]:
    """The entries of a result file about the grid and the spatial loss, and about the people who were measured.

    Settings are None where they are unknown or do not apply. "images_sha256" is the hash of "photograph person" lines:
    which people, and in which order.
    """
    topography = network.config.topography if network.foreign is None else None
    lines = (f"{name} {person}\n" for name, person in zip(people.names, people.person.tolist(), strict=True))
    return {
        "model": network.config.model,
        "grid": asdict(grid_of(network.model)),
        "topo_lr_mult": network.recipe.topo_lr_mult if topography else None,
        "lambda": topography.weight if topography else None,
        "topo_loss": topography.loss if topography else None,
        "permuted": topography.permuted if topography else None,
        "images": len(people),
        "images_sha256": hashlib.sha256("".join(lines).encode()).hexdigest(),
    }


def plain(value: Any) -> Any:
    """Replace NaN by None at all depths, because JSON has no NaN."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value
