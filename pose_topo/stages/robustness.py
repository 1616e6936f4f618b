"""The robustness stage: score a network while its weights, inputs or channels are harmed; write robustness.json.

A harm has several levels. Level 0 is the intact network, which is scored exactly as `evaluate` scores it. Nothing is
trained again, and the statistics of BatchNorm stay as they are. All random numbers depend only on a fixed seed and on
what they are for: a tensor and a draw, a person, or a draw. So two networks meet the same harm, and their scores can be
compared person by person.
"""

from __future__ import annotations

import copy
import math
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.integrate import trapezoid
from torch import Tensor, nn
from torchvision.transforms.functional import gaussian_blur
from tqdm import tqdm

from pose_topo.core.files import atomic_path, write_json
from pose_topo.data.batches import Batches, Change
from pose_topo.data.people import People
from pose_topo.models.pose import SimpleBaseline, head_weight, predict
from pose_topo.scoring import intervals
from pose_topo.scoring.pckh import hits, normalised_errors, percentages
from pose_topo.stages.checkpoints import identity, load_network, of_grid, open_data, plain
from pose_topo.stages.evaluate import BATCH
from pose_topo.study.config import Data
from pose_topo.study.results import HARMS
from pose_topo.topography import parcellation

Array = NDArray[np.float64]

_PRUNED = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9)
LEVELS: dict[str, tuple[float, ...]] = {
    "weight_noise": (0.0, 0.2, 0.4, 0.8, 1.2),
    "blur": (0.0, 0.5, 1.0, 2.0, 4.0),
    "noise": (0.0, 10.0, 20.0, 40.0, 80.0),
    "contrast": (0.0, 0.25, 0.5, 0.75, 0.9),
    "prune_territory": _PRUNED,
    "prune_norm": _PRUNED,
    "prune_random": _PRUNED,
}
DRAWS = {"weight_noise": 3, "prune_random": 5}  # the other harms have one
SEED = 0
PRUNED_BATCH = 8  # people, because a batch gets a set of heatmaps for each of 35 prunings


def measure_robustness(
    run: str | Path,
    out: Path,
    *,
    data: Data | None = None,
    device: str = "auto",
    precision: str = "auto",
    cache: Path | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Score a checkpoint under every harm; write robustness.json and robustness.npz to the folder `out`.

    Decoding and flip test are those of the run's recipe.

    Args:
        run: A run folder or a checkpoint file.
        data: Use this data set instead of the run's. Required for a foreign checkpoint (one of another code base).

    Returns:
        The content of robustness.json.

    Raises:
        PoseTopoError: There is no such checkpoint, or its data are missing.
        UsageError: `data` is None for a foreign checkpoint.
    """
    network = load_network(run, device, precision)
    dataset = open_data(network, data, cache=cache, progress=progress)
    recipe, held_out = network.recipe, dataset.split.val
    val = Batches(dataset.store, dataset.people, held_out, recipe, network.device)
    correct, labelled = correct_joints(network.model, val, dataset.people, network.precision, progress=progress)
    people = dataset.people.take(held_out)
    harms = {harm: curve(correct[harm], labelled, levels) for harm, levels in LEVELS.items()}
    result = plain(
        {
            **identity("robustness", network, dataset),
            **of_grid(network, people),
            "settings": {"decode": recipe.decode, "flip_test": recipe.flip_test, "precision": network.precision},
            "score": dataset.people.validation_unit()[0],
            "harm_seed": SEED,
            "bootstrap": intervals.settings(),
            "intact": harms["blur"]["levels"][0]["pckh"],
            "harms": {harm: {"unit": HARMS[harm][1], **numbers} for harm, numbers in harms.items()},
        }
    )
    arrays = {harm: found.sum(axis=1).astype(np.uint8) for harm, found in correct.items()}
    with atomic_path(out / "robustness.npz") as temporary:
        np.savez_compressed(
            temporary, images=np.array(people.names), persons=people.person, labelled=labelled, **arrays
        )  # fmt: skip
    write_json(out / "robustness.json", result)
    return result


# ---- which joints are correct


def correct_joints(
    model: SimpleBaseline, batches: Batches, people: People, precision: str, *, progress: bool = False
) -> tuple[dict[str, NDArray[np.bool_]], NDArray[np.bool_]]:
    """Predict the held-out people under every harm.

    Args:
        batches: The held-out people.
        people: All people of the store.

    Returns:
        For each harm, whether a joint is correct, (levels, draws, P, K). And which joints are labelled for a person who
        has the length that the score needs, (P, K).

    Raises:
        PoseTopoError: The output of a network is not finite.
    """
    _, unit, threshold = people.validation_unit()
    to_photo, recipe = batches.input_to_photo(), batches.recipe
    masks = prunings(head_weight(model))
    total = 2 + sum((len(LEVELS[harm]) - 1) * DRAWS.get(harm, 1) for harm in LEVELS if harm not in masks)
    bar = tqdm(total=total, desc="robustness", unit="pass", disable=not progress, mininterval=2)

    def errors(network: nn.Module, change: Change | None = None, size: int = BATCH) -> Array:
        """Errors (L, P, K) of a network with L heads, in units of the score."""
        found, _, rows = predict(network, batches.in_order(size, change=change), to_photo, recipe, precision)
        each = normalised_errors(found, people.joints[rows], people.labelled[rows], unit[rows])
        bar.update()
        by_person = np.argsort(rows, kind="stable").reshape(len(batches), -1)  # (P, L)
        return each[by_person].swapaxes(0, 1)

    intact = errors(model)[0]
    found = {"weight_noise": [[errors(noisy_weights(model, level, draw))[0] for draw in range(DRAWS["weight_noise"])]
                              for level in LEVELS["weight_noise"][1:]]}  # fmt: skip
    for harm, change in changes(people).items():
        found[harm] = [[errors(model, change(level))[0]] for level in LEVELS[harm][1:]]
    every = np.concatenate([mask.reshape(-1, mask.shape[-1]) for mask in masks.values()])
    pruned = iter(errors(PrunedHeads(model, every), size=PRUNED_BATCH))
    for harm, mask in masks.items():
        found[harm] = [[next(pruned) for _ in range(mask.shape[1])] for _ in range(mask.shape[0])]
    bar.close()
    correct = {
        harm: np.stack([hits(np.stack(draws), threshold) for draws in ([intact] * DRAWS.get(harm, 1), *found[harm])])
        for harm in HARMS
    }
    return correct, ~np.isnan(intact)


# ---- the harms


@torch.no_grad()
def noisy_weights(model: SimpleBaseline, level: float, draw: int) -> SimpleBaseline:
    """A copy of a network with Gaussian noise on the weights of each convolution.

    The noise depends on the draw and on the name and shape of the tensor, so that the layers that two networks share
    get the same noise, relative to their own weights. Biases and BatchNorm stay as they are.

    Args:
        level: The standard deviation of the noise, relative to that of the weights of the tensor.
        draw: The number of the draw.
    """
    noisy = copy.deepcopy(model)
    for name, layer in noisy.named_modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            weight, generator = layer.weight, torch.Generator().manual_seed(_seed("weights", draw, name))
            noise = torch.randn(weight.shape, generator=generator).to(weight.device)
            weight.add_(level * weight.std(correction=0) * noise)
    return noisy


def changes(people: People) -> dict[str, Callable[[float], Change]]:
    """For each harm to the inputs of `people`, the function that gives the change of a level."""
    keys = [_seed("picture", *who) for who in zip(people.names, people.person.tolist(), strict=True)]
    return {
        "blur": lambda level: lambda inputs, _: blur(inputs, level),
        "noise": lambda level: lambda inputs, rows: add_noise(inputs, level, [keys[row] for row in rows]),
        "contrast": lambda level: lambda inputs, _: lower_contrast(inputs, level),
    }


def blur(inputs: Tensor, level: float) -> Tensor:
    """Blur inputs (B, 3, H, W) by a Gaussian of `level` pixels, which is cut off at 4 sd. The border is mirrored.

    The Gaussian is cut off earlier if the mirrored border would be as wide as the input.
    """
    if level == 0:
        return inputs
    for axis in (0, 1):  # first along x, then along y: two narrow kernels take less time than a square one
        side = [1, 1]
        side[axis] = 2 * min(math.ceil(4 * level), inputs.shape[3 - axis] - 1) + 1
        inputs = gaussian_blur(inputs, side, [level, level])
    return inputs


def add_noise(inputs: Tensor, level: float, seeds: list[int]) -> Tensor:
    """Add Gaussian noise with a standard deviation of `level` grey levels to inputs (B, 3, H, W), and clip to 0..255.

    The noise of an input depends on its seed and on the kind of device only. Higher levels scale the same noise.
    """
    generator = torch.Generator(inputs.device)
    noise = [
        torch.randn(inputs.shape[1:], generator=generator.manual_seed(seed), device=inputs.device) for seed in seeds
    ]
    return (inputs + level * torch.stack(noise)).clamp_(0, 255)


def lower_contrast(inputs: Tensor, level: float) -> Tensor:
    """Take the share `level` of the contrast from inputs (B, 3, H, W): each colour moves towards its mean."""
    return torch.lerp(inputs, inputs.mean((2, 3), keepdim=True), level)


def prunings(weight: Array) -> dict[str, NDArray[np.bool_]]:
    """The channels that each pruning silences, by harm: (levels without 0, draws, C).

    A level prunes the first channels of an order of all channels:
    - prune_territory: joint by joint, those with the fewest channels first, and the channels of a joint by the norm of
      their head weights. A channel belongs to the joint with the largest |head weight|, so no grid is needed. Channels
      that belong to no joint come first.
    - prune_norm: by the norm of their head weights, the smallest first.
    - prune_random: random orders.

    Args:
        weight: The head weights, (K, C).
    """
    channels, norm, owner = weight.shape[1], np.linalg.norm(weight, axis=0), parcellation.labels(weight)
    size = np.where(owner < 0, 0, parcellation.units(owner, len(weight))[owner])
    orders = {
        "prune_territory": [np.lexsort((norm, owner, size))],
        "prune_norm": [np.argsort(norm, kind="stable")],
        "prune_random": [np.random.default_rng((SEED, draw)).permutation(channels) for draw in
                         range(DRAWS["prune_random"])],
    }  # fmt: skip
    counts = np.array([[round(level * channels)] for level in _PRUNED[1:]])
    return {harm: np.argsort(each, axis=1) < counts[:, None] for harm, each in orders.items()}


class PrunedHeads(nn.Module):
    """A network with several heads, in which channels are silenced: (B, 3, H, W) -> heatmaps (L B, K, H/4, W/4).

    The backbone runs once. A silenced channel is one whose head weights are zero, so the heatmaps are those of a
    network that was pruned, to the bit.

    Args:
        model: The network.
        masks: (L, C), the channels that each head silences.
    """

    def __init__(self, model: SimpleBaseline, masks: NDArray[np.bool_]) -> None:
        super().__init__()
        self.model = model
        weight = model.head.weight.detach()
        kept = torch.from_numpy(~masks).to(weight)
        self.weights = [weight * one[:, None, None] for one in kept]

    def forward(self, inputs: Tensor) -> Tensor:
        features = self.model.features(inputs)
        return torch.cat([F.conv2d(features, weight, self.model.head.bias) for weight in self.weights])


def _seed(*parts: object) -> int:
    return zlib.crc32(" ".join(map(str, (SEED, *parts))).encode())


# ---- the numbers of robustness.json


def curve(correct: NDArray[np.bool_], labelled: NDArray[np.bool_], levels: tuple[float, ...]) -> dict[str, Any]:
    """The score of each level and the area under the curve, with bootstrap intervals over people.

    Args:
        correct: (levels, draws, P, K). The score of a level is the mean over its draws.
        labelled: (P, K).
        levels: The first one is 0, the intact network.
    """
    draws, counts = correct.shape[1], correct.sum(axis=1)  # (levels, P, K): in how many draws a joint is correct
    scores = percentages(counts.sum(axis=1), labelled.sum(axis=0) * draws)[1]
    resampled = intervals.bootstrap(list(counts), labelled * draws)[..., 0]  # (levels, R)
    area, relative = areas(levels, scores)
    bands = [intervals.interval(values) for values in (*resampled, *areas(levels, resampled))]
    return {
        "draws": draws,
        "levels": [
            {"level": level, "pckh": float(score), "interval": band}
            for level, score, band in zip(levels, scores, bands, strict=False)
        ],
        "area": float(area),
        "area_interval": bands[-2],
        "relative": float(relative),
        "relative_interval": bands[-1],
        "reason": None if scores[0] > 0 else "no joint that is labelled is correct in the intact network",
    }


def areas(levels: tuple[float, ...], scores: Array) -> tuple[Array, Array]:
    """The area under curves by the trapezoidal rule, divided by the range of the levels; and as a share of the intact
    score.

    The first is the mean score over the range, in percent. The second is 1 if the harm costs nothing. It is NaN where
    the intact score is 0.

    Args:
        scores: (levels, ...).
    """
    area = np.asarray(trapezoid(scores, levels, axis=0)) / (levels[-1] - levels[0])
    intact = np.asarray(scores[0])
    return area, np.divide(area, intact, out=np.full(np.shape(area), np.nan), where=intact > 0)
