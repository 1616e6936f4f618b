"""The two networks: a backbone, deconvolutions and one heatmap per joint, without or with the topographic layer.

`study/backbones.py` has the list of backbones. `load_start` fills a network with the weights that it starts from.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import get_args

import numpy as np
import torch
import torchvision
from numpy.typing import NDArray
from torch import Tensor, nn

from pose_topo.core.errors import PoseTopoError, UsageError
from pose_topo.core.files import sha256_file
from pose_topo.core.machine import autocast
from pose_topo.data import geometry
from pose_topo.data.batches import Batch
from pose_topo.models.regularizers import check, incoming_weights, spatial_loss, tensor_read
from pose_topo.scoring.decoding import decode, flip_back, shift_right
from pose_topo.study import joints, runs
from pose_topo.study.backbones import BACKBONES, backbone
from pose_topo.study.config import DECONV_CHANNELS, Recipe, RunConfig, TopoInit
from pose_topo.study.lattice import Lattice

# ---- parts of the networks


def build_backbone(arch: str) -> nn.Sequential:
    """The parts of torchvision's model `arch`, with random weights: (B, 3, H, W) -> (B, channels, H/stride, W/stride).

    The whole classifier is built first, so that the random numbers that follow do not depend on what is left out.

    Raises:
        UsageError: an unknown backbone.
    """
    parts = backbone(arch).parts
    classifier = getattr(torchvision.models, arch)(weights=None)
    return nn.Sequential(*(getattr(classifier, part) for part in parts))


def deconvolutions(in_channels: int, number: int) -> nn.Sequential:
    """Enlarge a map `number` times by 2: 4x4 deconvolution (without bias, since BatchNorm has one), BatchNorm, ReLU."""
    layers: list[nn.Module] = []
    for _ in range(number):
        layers += [
            nn.ConvTranspose2d(in_channels, DECONV_CHANNELS, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(DECONV_CHANNELS),
            nn.ReLU(inplace=True),
        ]
        in_channels = DECONV_CHANNELS
    return nn.Sequential(*layers)


class TopographicConv2d(nn.Module):
    """A 1x1 convolution whose output channels lie on a lattice: (B, in_channels, H, W) -> (B, C, H, W).

    The convolution is followed by BatchNorm (if `batch_norm` is True) and by a ReLU. To compute a spatial loss, pass
    `conv.weight` and the outputs to `spatial_loss`.

    Args:
        in_channels: number of channels of the input.
        lattice: the grid of the C output channels.
        batch_norm: normalise before the ReLU. The convolution then has no bias.
        init: how the weights are initialised: "orthogonal" (the study's), "kaiming" or "equal-norm" (random
            directions, every row of norm sqrt(2)).

    Raises:
        UsageError: an unknown `init`.
    """

    def __init__(
        self, in_channels: int, lattice: Lattice, *, batch_norm: bool = False, init: str = "orthogonal"
    ) -> None:
        super().__init__()
        self.lattice = lattice
        self.conv = nn.Conv2d(in_channels, lattice.channels, 1, bias=not batch_norm)
        self.norm = nn.BatchNorm2d(lattice.channels) if batch_norm else nn.Identity()
        init_weight(self.conv.weight, init)
        if self.conv.bias is not None:
            nn.init.zeros_(self.conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.norm(self.conv(x)))

    def weight_similarity_loss(self) -> Tensor:
        """The study's spatial loss of this layer, a scalar, under the name that the study's code gives it."""
        return spatial_loss("weight-similarity", self.lattice, self.conv.weight)


# ---- the networks


class SimpleBaseline(nn.Module):
    """A backbone, deconvolutions and one heatmap per joint (Xiao et al. 2018).

    (B, 3, H, W), normalised as for ImageNet, -> heatmaps (B, 16, H/4, W/4) of MPII's joints. H and W are multiples of
    the stride of the backbone, which is 32 for a ResNet.

    Args:
        arch: the backbone, e.g. "resnet18". It begins with random weights.
        init: how deconvolutions and head are initialised: "standard" (Xiao et al. 2018) or "paper" (the study).

    Raises:
        UsageError: the backbone is unknown.
    """

    def __init__(self, arch: str, *, init: str = "standard") -> None:
        super().__init__()
        self.backbone = build_backbone(arch)
        self.deconv = deconvolutions(BACKBONES[arch].channels, BACKBONES[arch].deconvolutions)
        self.head = nn.Conv2d(DECONV_CHANNELS, joints.K, 1)
        init_deconvolutions(self.deconv, init)
        init_head(self.head)

    def features(self, x: Tensor) -> Tensor:
        """The input of the head, (B, C, H/4, W/4): the channels that an analysis places on the grid."""
        return self.deconv(self.backbone(x))

    def forward(self, x: Tensor, *, with_features: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """Return heatmaps, or with `with_features` heatmaps and the features (B, C, H/4, W/4) they were made from."""
        features = self.features(x)
        return (self.head(features), features) if with_features else self.head(features)


class TopoModel(SimpleBaseline):
    """`SimpleBaseline` with a `TopographicConv2d` before the head.

    Args:
        arch, init: as for `SimpleBaseline`.
        lattice, topo_init, batch_norm: of the topographic layer, as for `TopographicConv2d`.
        loss: the spatial loss that `topo_reg_loss` computes, e.g. "weight-similarity" or "topoloss".
        loss_order: (C,), the channel that the loss reads at each place of the grid. None: each at its own place.

    Raises:
        UsageError: an unknown backbone, loss or init, or a loss that this grid has no neighbours for.
    """

    def __init__(
        self,
        arch: str,
        lattice: Lattice,
        *,
        init: str = "standard",
        topo_init: str = "orthogonal",
        batch_norm: bool = False,
        loss: str = "weight-similarity",
        loss_order: NDArray[np.int64] | None = None,
    ) -> None:
        super().__init__(arch, init=init)
        check(loss, lattice)  # now, not in the first training step
        self.loss = loss
        self.topo = TopographicConv2d(DECONV_CHANNELS, lattice, batch_norm=batch_norm, init=topo_init)
        self.head = nn.Conv2d(lattice.channels, joints.K, 1)
        init_head(self.head)
        order = None if loss_order is None else torch.from_numpy(loss_order)
        self.register_buffer("loss_order", order, persistent=False)  # not in checkpoints: it follows from the config

    def features(self, x: Tensor) -> Tensor:
        return self.topo(super().features(x))

    @property
    def reads_activations(self) -> bool:
        """Whether the spatial loss reads the features of a batch; otherwise it reads the weights."""
        return tensor_read(self.loss) == "activations"

    def topo_reg_loss(self, features: Tensor | None = None) -> Tensor:
        """The spatial loss of the topographic layer, a scalar in fp32. It is not yet multiplied by lambda.

        With several processes (DistributedDataParallel), each computes the loss of its own part of the batch. The loss
        is then the mean of these, not the loss of the whole batch: a correlation reads B / processes inputs.

        Args:
            features: what `forward(..., with_features=True)` returned for this batch. They are not kept, so that the
                graph is freed after the step. A loss that reads the weights does not need them.

        Raises:
            ValueError: the loss reads the features and they are None.
        """
        weight, order = self.topo.conv.weight, self.loss_order
        if isinstance(order, Tensor):
            weight, features = weight[order], None if features is None else features[:, order]
        return spatial_loss(self.loss, self.topo.lattice, weight, features)


def build_model(config: RunConfig) -> SimpleBaseline:
    """The untrained network of a run, from the global random state, without ImageNet weights."""
    if config.topography is None:
        return SimpleBaseline(config.arch, init=config.recipe.init)
    topography = config.topography
    return TopoModel(
        config.arch,
        topography.lattice(),
        init=config.recipe.init,
        topo_init=topography.init,
        batch_norm=topography.batch_norm,
        loss=topography.loss,
        loss_order=trained_order(config),
    )


def trained_order(config: RunConfig) -> NDArray[np.int64] | None:
    """The channel that the spatial loss reads at each place of the grid, (C,): a permutation by the seed of the run.

    None, each channel at its own place, unless the grid is `permuted`.
    """
    topography = config.topography
    if topography is None or not topography.permuted:
        return None
    # its own random stream: neither that of the weights nor that of the permutations in the analysis
    return np.random.default_rng((2, config.seed)).permutation(topography.height * topography.width)


def head_weight(model: SimpleBaseline) -> NDArray[np.float64]:
    """Weights (K, C) of the 1x1 head."""
    return model.head.weight.detach().double().cpu().flatten(1).numpy()


def layer_weight(model: SimpleBaseline) -> NDArray[np.float64]:
    """Incoming weights (C, D) of the channels on the grid: those of the topographic layer, or of a baseline's last
    deconvolution."""
    last = [layer for layer in model.deconv if isinstance(layer, nn.ConvTranspose2d)][-1]
    layer = model.topo.conv if isinstance(model, TopoModel) else last
    return incoming_weights(layer, "").detach().double().cpu().numpy()


# ---- initial weights


def init_weight(weight: Tensor, how: str) -> None:
    """Initialise the weight of a 1x1 convolution, (C, C_in, 1, 1), in place, with the gain of a ReLU, sqrt(2).

    Raises:
        UsageError: `how` is none of "orthogonal", "kaiming" and "equal-norm".
    """
    if how == "orthogonal":
        nn.init.orthogonal_(weight, gain=nn.init.calculate_gain("relu"))
    elif how == "kaiming":
        nn.init.kaiming_normal_(weight, mode="fan_out", nonlinearity="relu")
    elif how == "equal-norm":  # random directions, every row of norm sqrt(2)
        nn.init.normal_(weight)
        with torch.no_grad():
            weight.mul_(math.sqrt(2) / weight.flatten(1).norm(dim=1).clamp_min(1e-12)[:, None, None, None])
    else:
        raise UsageError(f"--topo-init {how}: give one of {', '.join(get_args(TopoInit))}")


def init_head(head: nn.Conv2d) -> None:
    """Initialise the head: weights from N(0, 0.001), bias 0."""
    nn.init.normal_(head.weight, std=1e-3)
    if head.bias is not None:
        nn.init.zeros_(head.bias)


def init_deconvolutions(deconv: nn.Sequential, how: str) -> None:
    """Initialise the deconvolutions.

    "standard" draws from N(0, 0.001) (Xiao et al. 2018). "paper" (the original study) draws the first one by Kaiming
    normal (fan_out); each of the others enlarges every channel bilinearly.
    """
    layers = [layer for layer in deconv if isinstance(layer, nn.ConvTranspose2d)]
    for number, layer in enumerate(layers):
        if how == "standard":
            nn.init.normal_(layer.weight, std=1e-3)
        elif number == 0:
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        else:
            _init_bilinear(layer.weight)


@torch.no_grad()
def _init_bilinear(weight: Tensor) -> None:
    ramp = torch.tensor([0.25, 0.75, 0.75, 0.25])
    weight.zero_()
    channels = torch.arange(min(weight.shape[:2]))
    weight[channels, channels] = torch.outer(ramp, ramp)


# ---- the weights that a network starts from

TAKEN = ("backbone.", "deconv.")  # of a pose network. The topographic layer and the head start at random


def load_start(model: SimpleBaseline, config: RunConfig, path: Path) -> dict[str, str]:
    """Fill a network with the weights that its recipe starts from, in place.

    Args:
        config: says whether the file holds ImageNet weights or a pose network.
        path: the file: `download.weights.start_file(config)`.

    Returns:
        For provenance.json: "file", its name; "sha256"; and "source", the address where a verified file is published,
        the option of a file that was given, or "released".

    Raises:
        PoseTopoError: the file is not readable, or its weights do not fit the network.
    """
    if config.recipe.start == "imagenet":
        state = _kept(_read_state_dict(path), backbone(config.arch).parts)
        target: torch.nn.Module = model.backbone
        source = "--weights" if config.weights else backbone(config.arch).weights_url
    else:
        start = runs.load_checkpoint(path)
        if start.config.arch != config.arch:
            raise PoseTopoError(
                f"{path} is a {start.config.arch}, not a {config.arch}: give --arch {start.config.arch}, or another "
                "--start (imagenet, none)"
            )
        state = {key: value for key, value in start.model.items() if key.startswith(TAKEN)}
        own = {key: value for key, value in model.state_dict().items() if not key.startswith(TAKEN)}
        target, state = model, own | state
        source = "--start" if config.recipe.start == "network" else "released"
    if broken := [key for key, value in state.items() if isinstance(value, Tensor) and not value.isfinite().all()]:
        raise PoseTopoError(f"{path}: weights are not finite: {broken[0]}")
    try:
        target.load_state_dict(state)
    except RuntimeError as error:
        raise PoseTopoError(f"{path} does not fit {config.arch}: {str(error).splitlines()[-1].strip()[:160]}") from None
    return {"file": path.name, "sha256": sha256_file(path), "source": source}


def _read_state_dict(path: Path) -> dict[str, Tensor]:
    try:
        content = runs.read_content(path)
    except PoseTopoError as error:
        raise PoseTopoError(f"{path} is not a state_dict ({error})") from None
    if not isinstance(content, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()
    ):
        raise PoseTopoError(f"{path} is not a state_dict")
    return content


def _kept(state: dict[str, Tensor], parts: tuple[str, ...]) -> dict[str, Tensor]:
    """The weights of some parts of torchvision's model, under their names in a Sequential of these parts."""
    kept = {}
    for key, value in state.items():
        part, _, rest = key.partition(".")
        if part in parts:
            kept[f"{parts.index(part)}.{rest}"] = value
    return kept


# ---- the forward pass


@torch.inference_mode()
def heatmaps(model: nn.Module, images: Tensor, *, flip_test: bool, precision: str, shift: bool = True) -> Tensor:
    """Heatmaps (B, 16, H/4, W/4) in fp32.

    Args:
        flip_test: Average with the heatmaps of the mirrored input (Xiao et al. 2018).
        shift: Move those right by one column. This is correct if cell c stands for pixel 4c.
    """
    with autocast(images.device, precision):
        maps = model(images).float()
        if flip_test:
            back = flip_back(model(images.flip(-1)).float())
            maps = 0.5 * (maps + (shift_right(back) if shift else back))
    return maps


@torch.inference_mode()
def predict(
    model: nn.Module, batches: Iterable[Batch], input_to_photo: NDArray[np.float64], recipe: Recipe, precision: str
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Predict the joints of all people of `batches`.

    The heatmaps are decoded on the device of the network. The joints are copied to the host once, at the end, so that
    the host does not wait for a GPU between two batches.

    Args:
        model: It returns one set of heatmaps for each input, or L sets, as L blocks of B.
        input_to_photo: (rows of the store, 2, 3), the affine map from the input to the photograph.
        recipe: The flip test and the decoding.

    Returns:
        Joints (P, 16, 2) in 0-based pixels of the photograph, their confidences (P, 16), and the rows of the store that
        they belong to (P,). With L sets of heatmaps each person has L entries, in the order of the sets.

    Raises:
        PoseTopoError: The output of the network is not finite.
    """
    model.eval()
    decoded: list[Tensor] = []  # (B, 16, 3): x, y, confidence
    rows = []
    for batch in batches:
        maps = heatmaps(model, batch.images, flip_test=recipe.flip_test, precision=precision, shift=recipe.flip_shift)
        pixels, confidence = decode(maps, recipe.decode, recipe.sigma)
        decoded.append(torch.cat([pixels, confidence[..., None]], dim=-1))
        rows.append(np.tile(batch.index, len(maps) // len(batch.index)))
    everything, order = torch.cat(decoded).double().cpu().numpy(), np.concatenate(rows)
    check_finite(everything[..., 2])
    return geometry.apply(input_to_photo[order], everything[..., :2]), everything[..., 2], order


def check_finite(confidence: NDArray[np.float64]) -> None:
    """Refuse outputs that are not finite: decoded, NaN would be a joint in the corner.

    Raises:
        PoseTopoError: Some confidences are not finite.
    """
    if not np.isfinite(confidence).all():
        raise PoseTopoError("the output of the network is not finite: its training diverged")
