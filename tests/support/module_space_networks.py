"""Plain PyTorch networks, every width, kernel and depth an argument: what a space of one of them must equal."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Basic(nn.Module):
    """A residual block of two convolutions; ``inner`` channels between them."""

    def __init__(
        self, before: int, width: int, stride: int = 1, inner: int = 0, kernel: int = 3, act: type[nn.Module] = nn.ReLU
    ) -> None:
        super().__init__()
        inner = inner or width
        self.conv1 = nn.Conv2d(before, inner, kernel, stride, padding=kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.act = act()
        self.conv2 = nn.Conv2d(inner, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.short = nn.Conv2d(before, width, 1, stride) if stride > 1 or before != width else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn2(self.conv2(self.act(self.bn1(self.conv1(x))))) + self.short(x))


class ResNet(nn.Module):
    def __init__(
        self,
        widths: Sequence[int] = (16, 32),
        inner: int = 0,
        kernel: int = 3,
        depth: int = 3,
        act: type[nn.Module] = nn.ReLU,
        classes: int = 10,
        without: int = -1,
        inner1: int = 16,
    ) -> None:
        super().__init__()
        first, second = widths
        self.stem = nn.Conv2d(3, first, 3, 2, padding=1)
        self.layer1 = nn.Sequential(*[Basic(first, first, inner=inner1) for i in range(2) if i != without])
        blocks = [Basic(first, second, 2), *[Basic(second, second) for _ in range(depth - 1)]]
        blocks[0] = Basic(first, second, 2, inner, kernel, act)
        self.layer2 = nn.Sequential(*blocks)
        self.fc = nn.Linear(second, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer2(self.layer1(F.relu(self.stem(x))))
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


class Squeeze(nn.Module):
    def __init__(self, width: int, squeezed: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(width, squeezed, 1)
        self.up = nn.Conv2d(squeezed, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.up(F.relu(self.down(x.mean((2, 3), keepdim=True)))))


class Inverted(nn.Module):
    def __init__(self, before: int, width: int, expanded: int, stride: int = 1, kernel: int = 3, act: str = "") -> None:
        super().__init__()
        self.expand = nn.Conv2d(before, expanded, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(expanded)
        self.act = nn.Hardswish() if act == "hswish" else nn.ReLU6()
        self.depthwise = nn.Conv2d(expanded, expanded, kernel, stride, padding=kernel // 2, groups=expanded, bias=False)
        self.bn2 = nn.BatchNorm2d(expanded)
        self.squeeze = Squeeze(expanded, 8)
        self.project = nn.Conv2d(expanded, width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.residual = stride == 1 and before == width

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.bn1(self.expand(x)))
        y = self.squeeze(self.act(self.bn2(self.depthwise(y))))
        y = self.bn3(self.project(y))
        return x + y if self.residual else y


class MobileNet(nn.Module):
    """``concatenated``: both stages' maps reach the classifier side by side."""

    def __init__(self, expanded: int = 48, kernel: int = 3, act: str = "", stem: int = 16, blocks: int = 3) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, stem, 3, 2, padding=1), nn.BatchNorm2d(stem), nn.ReLU6())
        self.blocks = nn.ModuleList(
            [
                Inverted(stem, 24, 48, 2),
                Inverted(24, 24, expanded, 1, kernel, act),
                *[Inverted(24, 24, 48) for _ in range(blocks - 2)],
            ]
        )
        self.side = nn.Conv2d(24, 8, 1)
        self.head = nn.Conv2d(32, 10, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        x = torch.cat([x, self.side(x)], 1)
        return self.head(F.adaptive_avg_pool2d(x, 1)).flatten(1)


class Attention(nn.Module):
    def __init__(self, width: int, inner: int, heads: int) -> None:
        super().__init__()
        self.heads, self.inner = heads, inner
        self.qkv = nn.Linear(width, 3 * inner)
        self.proj = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        n, tokens, _ = x.shape
        parts = self.qkv(x).reshape(n, tokens, 3, self.heads, self.inner // self.heads).unbind(2)
        q, k, v = (part.transpose(1, 2) for part in parts)
        scores = (q * (self.inner // self.heads) ** -0.5) @ k.transpose(-2, -1)
        return self.proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(n, tokens, self.inner))


class Layer(nn.Module):
    def __init__(self, width: int, inner: int, hidden: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, inner, 2)
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.act = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.down(self.act(self.up(self.norm2(x))))


class Transformer(nn.Module):
    def __init__(self, width: int = 32, inner: int = 32, hidden: int = 64, depth: int = 2) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.layers = nn.Sequential(
            *[Layer(width, inner if i == 0 else 32, hidden if i == 0 else 64) for i in range(depth)]
        )
        self.fc = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        return self.fc(self.layers(x).mean(1))


class Fixed(nn.Module):
    """Its last map is taken apart by constants."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.fc = nn.Linear(8 * 16 * 16, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.conv(x).reshape(-1, 8 * 16 * 16))
