"""The backbones that a network can have: the only list of them.

Each is a classifier of `torchvision.models` without its pooling and its last layer. To add one, add an entry to
`BACKBONES`; the tests run over all entries. This module does not import torch; `models/pose.py` builds the networks.
"""

from __future__ import annotations

from dataclasses import dataclass

from pose_topo.core.errors import UsageError

HEATMAP_STRIDE = 4  # input pixels per heatmap cell: the deconvolutions enlarge every backbone's output to it
RESNET = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")


@dataclass(frozen=True)
class Backbone:
    """What the rest of the project needs to know of a backbone. Its key in `BACKBONES` is its name in torchvision.

    Attributes:
        title: the name in pictures.
        channels: channels of its output.
        weights: file name of its ImageNet weights; it ends with the first eight digits of the file's SHA-256.
        weights_size: size of that file in bytes, roughly.
        parts: the children of torchvision's model that are kept, in the order of the forward pass. A part's place is
            its number in the keys of a checkpoint (`backbone.4` is `layer1` of a ResNet).
        stride: input pixels per cell of its output; a power of two times `HEATMAP_STRIDE`.
    """

    title: str
    channels: int
    weights: str
    weights_size: int
    parts: tuple[str, ...] = RESNET
    stride: int = 32

    @property
    def deconvolutions(self) -> int:
        """How many deconvolutions, each of which doubles the side, lead to the heatmaps."""
        return (self.stride // HEATMAP_STRIDE).bit_length() - 1

    @property
    def weights_url(self) -> str:
        """Where the ImageNet weights are published."""
        return "https://download.pytorch.org/models/" + self.weights

    @property
    def weights_sha256(self) -> str:
        """The first digits of the SHA-256 of the ImageNet weights."""
        return self.weights.removesuffix(".pth").rpartition("-")[2]


BACKBONES: dict[str, Backbone] = {
    "resnet18": Backbone("ResNet-18", 512, "resnet18-f37072fd.pth", 46_800_000),
    "resnet34": Backbone("ResNet-34", 512, "resnet34-b627a593.pth", 87_300_000),
    "resnet50": Backbone("ResNet-50", 2048, "resnet50-0676ba61.pth", 102_500_000),  # V1, as the published baselines
    "resnet101": Backbone("ResNet-101", 2048, "resnet101-63fe2227.pth", 178_800_000),
    "resnet152": Backbone("ResNet-152", 2048, "resnet152-394f9c45.pth", 241_600_000),
}


def backbone(arch: str) -> Backbone:
    """The entry of `BACKBONES` for a name.

    Raises:
        UsageError: there is none; the message lists the names.
    """
    if arch not in BACKBONES:
        raise UsageError(f"--arch {arch}: give one of {', '.join(BACKBONES)}")
    return BACKBONES[arch]
