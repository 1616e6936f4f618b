"""The same networks under the names of other code, written independently of the loader: for its tests."""

from typing import Literal

import torch
import torchvision
from torch import Tensor, nn


class Stem(nn.Module):
    """A ResNet without its classifier, under torchvision's names."""

    def __init__(self, arch: str) -> None:
        super().__init__()
        resnet = getattr(torchvision.models, arch)(weights=None)
        self.conv1, self.bn1 = resnet.conv1, resnet.bn1
        self.layer1, self.layer2, self.layer3, self.layer4 = resnet.layer1, resnet.layer2, resnet.layer3, resnet.layer4

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.max_pool2d(torch.relu(self.bn1(self.conv1(x))), 3, stride=2, padding=1)
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


def upsampling(arch: str, bias: bool) -> nn.Sequential:
    wide = 512 if arch in ("resnet18", "resnet34") else 2048
    parts = []
    for channels in (wide, 256, 256):
        parts += [nn.ConvTranspose2d(channels, 256, 4, 2, 1, bias=bias), nn.BatchNorm2d(256), nn.ReLU()]
    return nn.Sequential(*parts)


class Microsoft(Stem):
    """`pose_resnet`: backbone at the top, `deconv_layers`, `final_layer`."""

    def __init__(self, arch: str) -> None:
        super().__init__(arch)
        self.deconv_layers = upsampling(arch, bias=False)
        self.final_layer = nn.Conv2d(256, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.final_layer(self.deconv_layers(super().forward(x)))


class Head(nn.Module):
    def __init__(self, arch: str) -> None:
        super().__init__()
        self.deconv_layers = upsampling(arch, bias=False)
        self.final_layer = nn.Conv2d(256, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.final_layer(self.deconv_layers(x))


class MMPose(nn.Module):
    """mmpose: `backbone`, and `keypoint_head` (version 0) or `head` (version 1)."""

    def __init__(self, arch: str, head: Literal["keypoint_head", "head"]) -> None:
        super().__init__()
        self.backbone = Stem(arch)
        self.head_name = head
        self.add_module(head, Head(arch))

    def forward(self, x: Tensor) -> Tensor:
        return getattr(self, self.head_name)(self.backbone(x))


class StudyTopo(nn.Module):
    def __init__(self, channels: int, norm: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(256, channels, 1, bias=not norm)
        self.bn = nn.BatchNorm2d(channels, affine=False) if norm else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return torch.relu(x if self.bn is None else self.bn(x))


class Study(nn.Module):
    """The original study: children of a ResNet in order, deconvolutions with bias, `topo`, `head`."""

    def __init__(self, arch: str, channels: int | None = None, norm: bool = False) -> None:
        super().__init__()
        self.backbone = nn.Sequential(*list(getattr(torchvision.models, arch)(weights=None).children())[:-2])
        self.deconv = upsampling(arch, bias=True)
        self.topo = StudyTopo(channels, norm) if channels else None
        self.head = nn.Conv2d(channels or 256, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.deconv(self.backbone(x))
        return self.head(x if self.topo is None else self.topo(x))


@torch.no_grad()
def stir(model: nn.Module, seed: int = 0) -> nn.Module:
    """Nothing may be 0 or 1 by chance: biases and statistics at random, heads large enough to be seen."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in model.state_dict().items():
        if name.endswith(("bias", "running_mean")):
            value.copy_(0.3 * torch.randn(value.shape, generator=generator))
        elif name.endswith("running_var"):
            value.copy_(0.5 + torch.rand(value.shape, generator=generator))
        elif name.endswith("num_batches_tracked"):
            value.fill_(7)
    return model.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
