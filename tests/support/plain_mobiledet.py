"""MobileDet for the Edge TPU and for CPUs in plain PyTorch, as one who has only the paper's figures would write them.

Written by hand: nothing here imports the project. Order of construction, order of branches and ways of padding are
its own, and differ from block to block on purpose.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def bn(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=0.01, momentum=0.01)


class SameConv(nn.Conv2d):
    """A convolution with TensorFlow's SAME padding, worked out from the image as it comes."""

    def forward(self, x: Tensor) -> Tensor:
        sides: list[int] = []
        for extent, k, s in zip(x.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True):
            total = max((-(-extent // s) - 1) * s + k - extent, 0)
            sides += [total // 2, total - total // 2]
        return super().forward(F.pad(x, sides))


class HardSwish(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * F.relu6(x + 3.0) / 6.0


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.grow = nn.Conv2d(squeezed, channels, 1)
        self.shrink = nn.Conv2d(channels, squeezed, 1)
        self.act = HardSwish()

    def forward(self, x: Tensor) -> Tensor:
        pooled = x.mean(dim=(2, 3), keepdim=True)
        return torch.sigmoid(self.grow(self.act(self.shrink(pooled)))) * x


class InvertedBottleneck(nn.Module):
    def __init__(self, c_in: int, c_out: int, kernel: int, expand: int = 8, stride: int = 1, squeeze: int = 0) -> None:
        super().__init__()
        self.residual = stride == 1 and c_in == c_out
        hidden = c_in * expand
        self.project = nn.Sequential(nn.Conv2d(hidden, c_out, 1, bias=False), bn(c_out))
        self.se = SqueezeExcite(hidden, squeeze) if squeeze else nn.Identity()
        self.act = nn.Hardswish(inplace=True) if squeeze else nn.ReLU6()
        self.depthwise = SameConv(hidden, hidden, kernel, stride, groups=hidden, bias=False)
        self.depthwise_bn = bn(hidden)
        self.expand = nn.Sequential(nn.Conv2d(c_in, hidden, 1, bias=False), bn(hidden)) if expand > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        y = x
        if self.expand is not None:
            y = self.act(self.expand(y))
        y = self.se(self.act(self.depthwise_bn(self.depthwise(y))))
        y = self.project(y)
        if self.residual:
            y += x
        return y


class Fused(nn.Module):
    def __init__(self, c_in: int, c_out: int, kernel: int, expand: int = 8, stride: int = 1) -> None:
        super().__init__()
        self.residual = stride == 1 and c_in == c_out
        hidden = c_in * expand
        layers: list[nn.Module] = []
        if stride == 1:
            layers.append(nn.Conv2d(c_in, hidden, kernel, padding="same", bias=False))
        else:  # on an even image SAME has one element less in front
            layers.append(nn.ZeroPad2d(((kernel - 2) // 2, (kernel - 1) // 2) * 2))
            layers.append(nn.Conv2d(c_in, hidden, kernel, stride, bias=False))
        layers += [bn(hidden), nn.ReLU6(inplace=True), nn.Conv2d(hidden, c_out, 1, bias=False), bn(c_out)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x) + x if self.residual else self.layers(x)


class Tucker(nn.Module):
    def __init__(self, c_in: int, c_out: int, rank_in: int, rank_out: int) -> None:
        super().__init__()
        self.compress, self.bn1 = nn.Conv2d(c_in, rank_in, 1, bias=False), bn(rank_in)
        self.core, self.bn2 = nn.Conv2d(rank_in, rank_out, 3, padding=1, bias=False), bn(rank_out)
        self.restore, self.bn3 = nn.Conv2d(rank_out, c_out, 1, bias=False), bn(c_out)

    def forward(self, x: Tensor) -> Tensor:
        x = F.hardtanh(self.bn1(self.compress(x)), 0.0, 6.0)
        x = F.relu6(self.bn2(self.core(x)))
        return self.bn3(self.restore(x))


def stem(width: int, act: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(3, width, 3, 2, bias=False), bn(width), act)


class EdgeTPUBackbone(nn.Module):
    """The features at strides 16 and 32."""

    widths = (96, 384)

    def __init__(self) -> None:
        super().__init__()
        self.stage7 = InvertedBottleneck(120, 384, 5, 8)
        self.stage6 = nn.Sequential(
            InvertedBottleneck(96, 120, 5, 8, stride=2),
            InvertedBottleneck(120, 120, 3, 8),
            InvertedBottleneck(120, 120, 5, 4),
            InvertedBottleneck(120, 120, 3, 8),
        )
        self.stage5 = nn.Sequential(
            InvertedBottleneck(72, 96, 5, 8),
            InvertedBottleneck(96, 96, 5, 8),
            InvertedBottleneck(96, 96, 3, 8),
            InvertedBottleneck(96, 96, 3, 8),
        )
        self.stage4 = nn.Sequential(
            InvertedBottleneck(40, 72, 3, 8, stride=2),
            InvertedBottleneck(72, 72, 3, 8),
            Fused(72, 72, 3, 4),
            Fused(72, 72, 3, 4),
        )
        self.stage3 = nn.Sequential(
            Fused(16, 40, 5, 8, stride=2), Fused(40, 40, 3, 4), Fused(40, 40, 3, 4), Fused(40, 40, 3, 4)
        )
        self.stage2 = nn.Sequential(
            Fused(16, 16, 3, 8, stride=2), Fused(16, 16, 3, 4), Fused(16, 16, 3, 8), Fused(16, 16, 3, 4)
        )
        self.stage1 = Tucker(32, 16, rank_in=8, rank_out=16)
        self.stem = stem(32, nn.ReLU6())

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        c4 = self.stage5(self.stage4(self.stage3(self.stage2(self.stage1(self.stem(image))))))
        return c4, self.stage7(self.stage6(c4))


class CPUBackbone(nn.Module):
    """The features at strides 16 and 32."""

    widths = (72, 144)

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [
                stem(16, HardSwish()),
                InvertedBottleneck(16, 8, 3, 1, squeeze=8),
                InvertedBottleneck(8, 16, 3, 4, stride=2, squeeze=8),
                InvertedBottleneck(16, 32, 3, 8, stride=2, squeeze=32),
                InvertedBottleneck(32, 32, 3, 4, squeeze=32),
                InvertedBottleneck(32, 32, 3, 4, squeeze=32),
                InvertedBottleneck(32, 32, 3, 4, squeeze=32),
                InvertedBottleneck(32, 72, 5, 8, stride=2, squeeze=64),
                InvertedBottleneck(72, 72, 3, 8, squeeze=144),
                InvertedBottleneck(72, 72, 5, 4, squeeze=72),
                InvertedBottleneck(72, 72, 3, 4, squeeze=72),
                InvertedBottleneck(72, 72, 3, 8, squeeze=144),
                InvertedBottleneck(72, 72, 3, 8, squeeze=144),
                InvertedBottleneck(72, 72, 3, 8, squeeze=144),
                InvertedBottleneck(72, 72, 3, 8, squeeze=144),
                InvertedBottleneck(72, 104, 5, 8, stride=2, squeeze=144),
                InvertedBottleneck(104, 104, 5, 4, squeeze=104),
                InvertedBottleneck(104, 104, 5, 4, squeeze=104),
                InvertedBottleneck(104, 104, 3, 4, squeeze=104),
                InvertedBottleneck(104, 144, 3, 8, squeeze=208),
            ]
        )
        self.layers[11].residual = False  # a stage's first layer adds nothing, though here its widths agree

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = []
        for layer in self.layers:
            x = layer(x)
            features.append(x)
        return features[14], features[-1]


class Separable(nn.Sequential):
    """SSDLite's predictor: depthwise 3x3, then 1x1 with a bias."""

    def __init__(self, c_in: int, c_out: int) -> None:
        norm = nn.BatchNorm2d(c_in, 1e-3, 0.03)
        depthwise = nn.Conv2d(c_in, c_in, 3, 1, 1, groups=c_in, bias=False)
        super().__init__(depthwise, norm, nn.ReLU6(), nn.Conv2d(c_in, c_out, 1))


class Downsample(nn.Module):
    """The levels behind the backbone: half the width, a depthwise stride, the full width."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        half = c_out // 2
        self.norms = nn.ModuleList([nn.BatchNorm2d(c, 1e-3, 0.03) for c in (half, half, c_out)])
        self.convs = nn.ModuleList(
            [
                nn.Conv2d(c_in, half, 1, bias=False),
                SameConv(half, half, 3, 2, groups=half, bias=False),
                nn.Conv2d(half, c_out, 1, bias=False),
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.relu6(norm(conv(x)))
        return x


class Detector(nn.Module):
    """SSDLite on a backbone: ``box0`` to ``box5`` and ``class0`` to ``class5``, coarse levels first."""

    def __init__(self, backbone: EdgeTPUBackbone | CPUBackbone, classes: int = 90) -> None:
        super().__init__()
        widths = (*backbone.widths, 512, 256, 256, 128)
        anchors = (3, 6, 6, 6, 6, 6)
        self.scores = nn.ModuleList([Separable(w, a * (classes + 1)) for w, a in zip(widths, anchors, strict=True)])
        self.boxes = nn.ModuleList([Separable(w, a * 4) for w, a in zip(widths, anchors, strict=True)])
        self.extras = nn.ModuleList([Downsample(a, b) for a, b in pairwise(widths[1:])])
        self.backbone = backbone

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        levels = list(self.backbone(image))
        for extra in self.extras:
            levels.append(extra(levels[-1]))
        outputs = {}
        for i in reversed(range(6)):
            outputs[f"class{i}"] = self.scores[i](levels[i])
            outputs[f"box{i}"] = self.boxes[i](levels[i])
        return outputs


class Classifier(nn.Module):
    """A 1x1 convolution, the mean of the image, and a linear layer."""

    def __init__(self, backbone: EdgeTPUBackbone | CPUBackbone, width: int, act: nn.Module, classes: int = 90) -> None:
        super().__init__()
        self.fc = nn.Linear(width, classes)
        self.head = nn.Sequential(nn.Conv2d(backbone.widths[1], width, 1, bias=False), bn(width), act)
        self.backbone = backbone

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        x = self.head(self.backbone(image)[1])
        return {"logits": self.fc(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))}
