"""The audit: the topography of any layer of any network, in one JSON file and one page.

`audit` measures a layer of a network that is in memory; `open_subject` loads the network that the command line names.
A layer that no loss arranged gets the null answer. docs/audit.md explains every number.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import cv2
import jinja2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pose_topo.core.errors import PoseTopoError, UsageError
from pose_topo.core.files import read_json, sha256_file, write_json, write_text
from pose_topo.core.log import log
from pose_topo.core.machine import pick_device
from pose_topo.data.batches import IMAGENET_MEAN, IMAGENET_SD
from pose_topo.data.crops import read_photograph
from pose_topo.models.pose import TopoModel
from pose_topo.models.regularizers import channels_of, find_layer, grid_for, incoming_weights
from pose_topo.stages.checkpoints import build_named, grid_of, load_network, load_weights, plain
from pose_topo.stages.predict import find_photographs
from pose_topo.study import joints
from pose_topo.study.lattice import Lattice
from pose_topo.study.results import SCHEMAS
from pose_topo.topography import measures, moran

Array = NDArray[np.float64]

LEVEL = 0.01  # of the answer, over its two tests
BATCH = 32


def audit(
    model: nn.Module,
    layer: str | nn.Module,
    lattice: Lattice | tuple[int, int] | None = None,
    readout: str | nn.Module | None = None,
    images: str | Path | Tensor | None = None,
    *,
    readout_names: Sequence[str] | None = None,
    responses: str | None = None,
    size: int = 224,
    most: int = 1000,
    permutations: int = 9999,
    device: str = "auto",
    about: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
) -> dict[str, Any]:
    """Measure the topography of a layer.

    Args:
        model: Any network.
        layer: The name of a linear or convolutional layer with C channels, or the layer itself.
        lattice: The grid of the channels: a `Lattice`, or (height, width). Channel c is at row c // width.
        readout: The layer that reads these channels, for example the classifier. Its inputs must be the C channels.
        images: A folder of photographs, or a tensor of inputs (N, 3, H, W), normalised as the network expects.
        readout_names: A name for each output of the readout. Default: their indices.
        responses: The name of the module whose output is the response of the channels, for example that after the ReLU.
            Default: the layer.
        size: Photographs are cropped to this many pixels squared, and normalised with ImageNet's mean and deviation.
        most: The largest number of photographs; of more, so many are taken, evenly spread.
        permutations: The number of random arrangements behind each p value.
        device: Where the network runs: "auto", "cpu", "cuda" or "cuda:N".
        about: Further entries of the result that say which network this is.
        out: A folder for audit.json and audit.html.

    Returns:
        The content of audit.json (docs/results.md).

    Raises:
        UsageError: There is no such layer, no grid is given, the grid or the readout does not have C channels, or the
            network cannot be run on these images.
        PoseTopoError: The weights are not finite, or there are no readable photographs.
    """
    name, module = find_layer(model, layer)
    if lattice is None:
        near = Lattice.squarest(channels_of(module))
        raise UsageError(
            f"layer {name!r} has {channels_of(module)} channels and no grid: give --grid HEIGHT WIDTH, for example "
            f"{near.height} {near.width}; the answer for a grid that no loss used is the null answer"
        )
    lattice = grid_for(name, module, lattice)
    weights = incoming_weights(module, name).detach().double().cpu().numpy()
    if not np.isfinite(weights).all():
        raise PoseTopoError(f"layer {name!r}: its weights are not finite")
    read = None if readout is None else _strength(model, readout, lattice.channels, readout_names)
    seen = None if images is None else respond(model, responses or name, lattice, images, size, most, device)
    not_measured = {
        "the task": "how well the network does its task, and what the grid costs or gives it",
        "the cause": "why the grid looks so. This is one network: a claim about a method needs several seeds "
        "and a control without the spatial loss",
    }
    measured, maps = measures.weight_measures(weights, lattice, permutations)
    maps["reason"] = "null: a channel without weights, or a distance without pairs that vary"
    result = {
        "schema": SCHEMAS["audit"],
        "kind": "audit",
        **(about or {"model": type(model).__name__}),
        "layer": {
            "name": name,
            "type": type(module).__name__,
            "channels": lattice.channels,
            "inputs": weights.shape[1],
        },
        "grid": asdict(lattice),
        "neighbour_weights": moran.weights_name(moran.primary(lattice)),
        "expected_I": moran.expected_i(lattice.channels),
        "permutations": permutations,
        "weights": measured,
        "answer": answer(measured, lattice),
        "readout": None,
        "responses": None,
        "not_measured": not_measured,
        "maps": maps,
    }
    if read is None:
        not_measured["readout"] = "which outputs the channels serve: no readout layer was given (--readout)"
    else:
        title, strength, names = read
        result["readout"] = measures.readout_measures(strength, names, seen, lattice, permutations) | {"layer": title}
        if len(strength) <= joints.K:
            maps["readout"] = strength.reshape(-1, lattice.height, lattice.width).tolist()
    if seen is None:
        not_measured["responses"] = "whether neighbours are active together: no photographs were given (--images)"
    else:
        result["responses"], further = measures.response_measures(seen, lattice, permutations)
        result["responses"] |= {"module": responses or name, "size": None if isinstance(images, Tensor) else size}
        maps |= further
    result |= {f"{part}_reason": not_measured.get(part) for part in ("readout", "responses")}
    result = plain(result)
    if out is not None:
        write_json(Path(out) / "audit.json", result)
        write_text(Path(out) / "audit.html", page(read_json(Path(out) / "audit.json")))
    return result


def answer(measured: Mapping[str, Any], lattice: Lattice) -> dict[str, Any]:
    """Whether the weights lie in order on this grid: two tests, of which the smaller p is doubled."""
    p = [value for value in (measured["directions"]["p_mean"], measured["cosine"]["p"]) if value is not None]
    if not p:
        reason = measured["directions"]["reason"]
        return {"found": None, "p": None, "level": LEVEL, "text": f"Not tested: {reason}.", "reason": reason}
    smallest = min(1.0, len(p) * min(p))
    found, where = smallest <= LEVEL, f"on this {lattice.height} x {lattice.width} grid (p = {smallest:.2g})"
    text = f"No topography was found {where}. This is the answer for a layer that no loss arranged, or that a loss "
    text += "arranged on another grid."
    if found:
        text = f"Topography was found {where}: neighbours have similar weights."
    return {"found": found, "p": smallest, "level": LEVEL, "text": text, "reason": None}


# ---- What is measured


def _strength(
    model: nn.Module, readout: str | nn.Module, channels: int, names: Sequence[str] | None
) -> tuple[str, Array, list[str]]:
    """The name of the readout, how strongly each output reads each channel, (K, C), and the names of the outputs.

    The strength is |w|, or the length over the places of a kernel.
    """
    title, module = find_layer(model, readout)
    weight: Tensor = module.weight.detach().double().cpu()  # type: ignore[operator, union-attr]
    weight = weight.transpose(0, 1) if "Transpose" in type(module).__name__ else weight
    if weight.shape[1] != channels:
        raise UsageError(f"--readout {title}: it reads {weight.shape[1]} inputs, the layer has {channels} channels")
    names = [str(n) for n in range(len(weight))] if names is None else list(names)
    if len(names) != len(weight):
        raise UsageError(f"--readout-names: {len(names)} names for the {len(weight)} outputs of {title}")
    strength = weight.flatten(2).norm(dim=2) if weight.ndim > 2 else weight.abs()
    return title, strength.numpy(), names


@torch.inference_mode()
def respond(
    model: nn.Module, responses: str, lattice: Lattice, images: str | Path | Tensor, size: int, most: int, device: str
) -> Array:
    """The spatial mean of each channel for each image, (N, C)."""
    modules = dict(model.named_modules())
    if responses not in modules:
        similar = ", ".join(get_close_matches(responses, [name for name in modules if name], 4, 0.4))
        raise UsageError(f"--responses {responses}: the network has no such module; similar names: {similar or 'none'}")
    kept: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: tuple, output: Tensor) -> None:
        flat = output.float().flatten(2).mean(2) if output.ndim > 2 else output.float()
        kept.append(flat.cpu())

    where = pick_device(device)
    training, before = model.training, next(model.parameters()).device
    handle = modules[responses].register_forward_hook(keep)
    try:
        model.eval().to(where)
        for batch in images.split(BATCH) if isinstance(images, Tensor) else _batches(Path(images), size, most):
            model(batch.to(where))
    except (RuntimeError, ValueError) as error:
        raise UsageError(f"the network failed on the images: {' '.join(str(error).split())[:200]}") from error
    finally:
        handle.remove()
        model.train(training).to(before)
    found = torch.cat(kept).double().numpy() if kept else np.zeros((0, 0))
    if found.ndim != 2 or found.shape[1] != lattice.channels or len(found) < 2:
        raise UsageError(f"--responses {responses}: {found.shape} values for a grid of {lattice.channels} channels and "
                         "at least 2 images")  # fmt: skip
    return found


def _batches(folder: Path, size: int, most: int) -> Iterator[Tensor]:
    """Photographs as ImageNet's validation does it: the shorter side is 8/7 of `size`, and the centre is cut out."""
    files = [file.path for file in find_photographs([folder])]
    files = [files[n] for n in np.unique(np.linspace(0, len(files) - 1, min(most, len(files))).round().astype(int))]
    mean, sd = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_SD)
    read: list[Tensor] = []
    for file in files:
        picture = read_photograph(file, upright=True)
        if picture is None:
            log.warning(f"{file}: not readable, left out")
            continue
        scale = size * 8 / 7 / min(picture.shape[:2])
        height, width = (max(size, round(side * scale)) for side in picture.shape[:2])
        picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        top, left = (height - size) // 2, (width - size) // 2
        pixels = torch.from_numpy(picture[top : top + size, left : left + size, ::-1].copy()).float() / 255
        read.append(((pixels - mean) / sd).permute(2, 0, 1))
        if len(read) == BATCH:
            yield torch.stack(read)
            read = []
    if read:
        yield torch.stack(read)


# ---- The network that the command line names


def audit_named(checkpoint: Path | None, *, model: str | None, **options: Any) -> dict[str, Any]:
    """`audit` of the network that the command line names.

    Args:
        checkpoint: A run or checkpoint of this project. With `model`, a state dict for it.
        model: "torchvision:NAME" or "FILE.py:FUNCTION". None for a network of this project, whose layer, grid, readout,
            responses and input size are known.
        options: Those of `audit`; an option that is None has its default. `grid` is `lattice`.

    Raises:
        UsageError: Neither is given, or `model` names no network, or as for `audit`.
        PoseTopoError: The checkpoint cannot be read or does not fit, or as for `audit`.
    """
    given = {("lattice" if key == "grid" else key): value for key, value in options.items() if value is not None}
    if model is None:
        network, usual = _own(checkpoint)
        if "layer" in given:  # its grid and its readout are not those of the topographic layer
            usual = {"about": usual["about"], "size": usual["size"]}
        return audit(network, **(usual | given))
    torch.manual_seed(0)
    network = build_named(model)
    about: dict[str, Any] = {"model": model, "weights_from": "as built, seed 0", "checkpoint_sha256": None}
    if checkpoint is not None:
        load_weights(network, checkpoint)
        about |= {"weights_from": checkpoint.name, "checkpoint_sha256": sha256_file(checkpoint)}
    if "layer" not in given:
        known = [name for name, part in network.named_modules() if isinstance(part, nn.Conv2d | nn.Linear)]
        raise UsageError(f"--model {model}: give --layer, such as {', '.join(known[-4:])}")
    return audit(network, **given, about=about)


def _own(checkpoint: Path | None) -> tuple[nn.Module, dict[str, Any]]:
    """A network of this project, and what is audited in it."""
    if checkpoint is None:
        raise UsageError("give a checkpoint of this project, or --model torchvision:NAME, or --model FILE.py:FUNCTION")
    try:
        opened = load_network(checkpoint, "cpu")
    except PoseTopoError as error:
        raise PoseTopoError(f"{error}; for a network of other code, give --model") from None
    network, config = opened.model, opened.config
    last = [name for name, part in network.named_modules() if isinstance(part, nn.ConvTranspose2d)][-1]
    layer, responses = ("topo.conv", "topo") if isinstance(network, TopoModel) else (last, "deconv")
    run = f"protocol {config.recipe.protocol}, arm {config.arm}, seed {config.seed}"
    about = {
        "model": f"{config.model} ({config.arch})",
        "weights_from": opened.path.name if opened.foreign else run,
        "checkpoint_sha256": opened.sha256,
    }
    return network, {
        "layer": layer,
        "lattice": grid_of(network),
        "readout": "head",
        "readout_names": joints.NAMES,
        "responses": responses,
        "size": config.recipe.input_size,
        "about": about,
    }


# ---- The page

DIVERGING = np.array([[33, 83, 150], [122, 168, 214], [247, 247, 245], [240, 160, 96], [178, 72, 16]], np.float64)
RISING = np.array([[252, 251, 247], [214, 214, 190], [132, 164, 134], [52, 110, 100], [14, 52, 62]], np.float64)


def page(result: Mapping[str, Any]) -> str:
    """The page audit.html. It holds its pictures, has no script and fetches nothing."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.globals |= {"picture": picture, "number": number}
    return environment.get_template("audit.html.j2").render(a=result)


def picture(values: Sequence[Sequence[float | None]], *, signed: bool) -> str:
    """A map (h, w) as the data URI of a PNG with one pixel per channel. Channels without a value are transparent."""
    grid = np.array(values, np.float64)
    known = grid[np.isfinite(grid)] if np.isfinite(grid).any() else np.zeros(1)
    largest = np.abs(known).max()
    low, high = (-largest, largest) if signed else (known.min(), known.max())
    place = (np.nan_to_num(grid) - low) / ((high - low) or 1.0)
    stops, colours = np.linspace(0, 1, 5), DIVERGING if signed else RISING
    red, green, blue = (np.interp(place, stops, colours[:, k]) for k in range(3))
    channels = np.stack([blue, green, red, 255.0 * np.isfinite(grid)], axis=-1).round().astype(np.uint8)
    data = cv2.imencode(".png", channels)[1].tobytes()
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def number(value: float | None, digits: int = 3) -> str:
    """A number for a reader; a dash for one that does not exist."""
    if value is None:
        return "\N{EN DASH}"
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "\N{MINUS SIGN}")  # + 0.0: no minus before a zero
