"""Published networks in plain PyTorch, written from their tables and the authors' code, without this builder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# (expansion, width, layers, stride) of arXiv 1801.04381, table 2
MOBILENETV2 = (
    *((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)),
    *((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)),
)


class Add(nn.Module):
    """A branch and its input, added."""

    def __init__(self, *branch: nn.Module) -> None:
        super().__init__()
        self.branch = nn.Sequential(*branch)

    def forward(self, x: Tensor) -> Tensor:
        total: Tensor = x + self.branch(x)
        return total


class SameConv(nn.Conv2d):
    """TensorFlow's SAME: as many outputs as strides fit, rounded up; the odd row of zeros behind."""

    def forward(self, x: Tensor) -> Tensor:
        pads: list[int] = []
        for size, k, s in reversed(list(zip(x.shape[2:], self.kernel_size, self.stride, strict=True))):
            total = max(k - (s if size % s == 0 else size % s), 0)
            pads += [total // 2, total - total // 2]
        return F.conv2d(F.pad(x, pads), self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


def conv_norm(
    cin: int,
    cout: int,
    k: int,
    s: int = 1,
    groups: int = 1,
    *,
    act: nn.Module | None = None,
    same: bool = False,
    bias: bool = False,
    eps: float = 1e-5,
    momentum: float = 0.1,
) -> list[nn.Module]:
    """Convolution, batch normalisation and, where there is one, an activation."""
    kind = SameConv if same else nn.Conv2d
    conv = kind(cin, cout, k, s, 0 if same else k // 2, groups=groups, bias=bias)
    return [conv, nn.BatchNorm2d(cout, eps, momentum), *([act] if act is not None else [])]


def mobilenetv2(num_classes: int = 1000, **how: Any) -> nn.Sequential:
    """MobileNetV2 1.0; ``how`` goes to ``conv_norm``."""
    relu6: dict[str, Any] = {**how, "act": nn.ReLU6()}
    layers = conv_norm(3, 32, 3, 2, **relu6)
    x = 32
    for t, c, n, s in MOBILENETV2:
        for i in range(n):
            stride = 1 if i else s
            block = conv_norm(x, t * x, 1, **relu6) if t > 1 else []
            block += conv_norm(t * x, t * x, 3, stride, t * x, **relu6) + conv_norm(t * x, c, 1, **how)
            layers += [Add(*block)] if stride == 1 and x == c else block
            x = c
    layers += [*conv_norm(x, 1280, 1, **relu6), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, num_classes)]
    return nn.Sequential(*layers)


class SqueezeExcite(nn.Module):
    """MobileNetV3's (arXiv 1905.02244): ReLU inside, and ``relu6(x + 3) / 6`` for the gate."""

    def __init__(self, width: int, squeezed: int) -> None:
        super().__init__()
        self.reduce, self.expand = nn.Conv2d(width, squeezed, 1), nn.Conv2d(squeezed, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.reduce(x.mean((2, 3), keepdim=True)))
        return x * F.relu6(self.expand(y) + 3) / 6


class ChannelFactor(nn.Module):
    """LayerScale."""

    def __init__(self, width: int, initial: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((width,), initial))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight.view(-1, 1, 1)


def universal_inverted_bottleneck(
    cin: int, cout: int, k_start: int, k_mid: int, expanded: int, stride: int, act: nn.Module, scale: float | None
) -> nn.Module:
    """MobileNetV4's block (arXiv 2404.10518): no activation behind the first depthwise convolution and the last 1x1."""
    layers: list[nn.Module] = []
    if k_start:
        layers += conv_norm(cin, cin, k_start, stride if not k_mid else 1, cin)
    layers += conv_norm(cin, expanded, 1, act=act)
    if k_mid:
        layers += conv_norm(expanded, expanded, k_mid, stride, expanded, act=act)
    layers += conv_norm(expanded, cout, 1)
    layers += [] if scale is None else [ChannelFactor(cout, scale)]
    return Add(*layers) if stride == 1 and cin == cout else nn.Sequential(*layers)


# -- ProxylessNAS: mit-han-lab/proxylessnas, ReLU6, eps 1e-3, momentum 0.1 ---------------------------------------------

PROXYLESS_LAYERS = (1, 4, 4, 4, 4, 4, 1)
PROXYLESS_STRIDES = (1, 2, 2, 2, 1, 2, 1)


def proxylessnas(text: str, filters: Sequence[int]) -> nn.Sequential:
    """The network of TuNAS' string of indices, kernels 3, 5 and 7 for each expansion; the index 6 is no layer."""
    how: dict[str, Any] = {"eps": 1e-3, "momentum": 0.1}
    relu6: dict[str, Any] = {**how, "act": nn.ReLU6()}
    indices = iter(int(index) for index in text.split(":"))
    layers, x = conv_norm(3, filters[0], 3, 2, **relu6), filters[0]
    stages = zip(PROXYLESS_LAYERS, PROXYLESS_STRIDES, filters[1:-1], strict=True)
    for number, (count, first, c) in enumerate(stages):
        for i in range(count):
            index, stride = next(indices), 1 if i else first
            if index == 6:
                continue
            k, t = (3, 5, 7)[index % 3], (3, 6)[index // 3] if number else 1
            block = conv_norm(x, t * x, 1, **relu6) if t > 1 else []
            block += conv_norm(t * x, t * x, k, stride, t * x, **relu6) + conv_norm(t * x, c, 1, **how)
            layers += [Add(*block)] if i else block
            x = c
    layers += [*conv_norm(x, filters[-1], 1, **relu6), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(filters[-1], 1000))


# -- FBNet: facebookresearch/mobile-vision, a bias before every normalisation ------------------------------------------


class Shuffle(nn.Module):
    """Channel shuffle: the groups' channels in turn."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, *size = x.shape
        y = x.reshape(batch, self.groups, channels // self.groups, *size)
        return y.transpose(1, 2).reshape(x.shape)


def fbnet(text: str, last: int) -> nn.Sequential:
    """The network of the paper's block names; where mobile-vision leaves out the first 1x1 convolution, so is it."""
    relu: dict[str, Any] = {"act": nn.ReLU(), "bias": True}
    names = iter(text.split(":"))
    layers, x = conv_norm(3, 16, 3, 2, **relu), 16
    stages = ((16, 1, 1), (24, 4, 2), (32, 4, 2), (64, 4, 2), (112, 4, 1), (184, 4, 2), (352, 1, 1))
    for c, count, first in stages:
        for i in range(count):
            name, stride = next(names), 1 if i else first
            if name == "skip":
                assert (stride, x) == (1, c)
                continue
            k, t = int(name[1]), int(name[4])
            groups = 2 if name.endswith("_g2") else 1
            block = conv_norm(x, t * x, 1, groups=groups, **relu) if t > 1 else []
            block += [Shuffle(groups)] if groups > 1 else []
            block += conv_norm(t * x, t * x, k, stride, t * x, **relu)
            block += conv_norm(t * x, c, 1, groups=groups, bias=True)
            layers += [Add(*block)] if stride == 1 and x == c else block
            x = c
    layers += conv_norm(x, last, 1, **relu)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Conv2d(last, 1000, 1), nn.Flatten())


# -- EMO and EMOv2: zhangzjn/EMO, zhangzjn/EMOv2 -----------------------------------------------------------------------


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels of a map."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        normed: Tensor = self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return normed


def window_attention(q: Tensor, k: Tensor, v: Tensor, heads: int, window: int, remote: bool) -> Tensor:
    """Attention as a mask on all places: who may see whom is who shares a window."""
    batch, _, height, width = q.shape
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    if remote:
        mine = (rows % (height // window)) * width + columns % (width // window)
    else:
        mine = (rows // window) * width + columns // window
    apart = mine.flatten()[:, None] != mine.flatten()[None, :]
    split = [t.reshape(batch, heads, t.shape[1] // heads, height * width) for t in (q, k, v)]
    scores = split[0].transpose(2, 3) @ split[1] / split[0].shape[2] ** 0.5
    weights = scores.masked_fill(apart, float("-inf")).softmax(-1)
    y: Tensor = split[2] @ weights.transpose(2, 3)
    return y.reshape(batch, v.shape[1], height, width)


class MobileBlock(nn.Module):
    """``iRMB`` and, ``second``, ``iiRMB`` with remote and close windows; no ``heads``: no attention."""

    def __init__(
        self, cin: int, cout: int, mid: int, k: int, s: int, *, late: bool, heads: int, window: int, second: bool
    ) -> None:
        super().__init__()
        self.heads, self.window, self.second, self.skip = heads, window, second, s == 1
        self.act: nn.Module = nn.GELU() if late else nn.SiLU()
        self.norm: nn.Module = ChannelNorm(cin) if late else nn.BatchNorm2d(cin, eps=1e-6)
        self.qk = nn.Conv2d(cin, 2 * cin, 1) if heads else nn.Identity()
        self.v = nn.Conv2d(cin, mid, 1)
        self.local = nn.Sequential(*conv_norm(mid, mid, k, s, mid, act=nn.SiLU(), eps=1e-6))
        self.proj = nn.Conv2d(mid, cout, 1, bias=False)
        self.scale = ChannelFactor(cout, 1e-6) if second else nn.Identity()

    def attend(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        x = F.pad(x, (0, -width % self.window, 0, -height % self.window))
        q, k = self.qk(x).chunk(2, 1)
        if self.second:
            v = self.act(self.v(x))
            y = window_attention(q, k, v, self.heads, self.window, True)
            y = y + window_attention(q, k, v, self.heads, self.window, False)
        else:
            y = self.act(self.v(window_attention(q, k, x, self.heads, self.window, True)))
        return y[:, :, :height, :width]

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        y = self.attend(y) if self.heads else self.act(self.v(y))
        y = y + self.local(y) if self.skip else self.local(y)
        y = self.scale(self.proj(y))
        result: Tensor = x + y if self.skip else y
        return result


class SiluGate(nn.Module):
    """EMO's squeeze-excite, timm's: SiLU inside, a sigmoid for the gate."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.reduce, self.expand = nn.Conv2d(width, width, 1), nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate: Tensor = torch.sigmoid(self.expand(F.silu(self.reduce(x.mean((2, 3), keepdim=True)))))
        return x * gate


def emo(config: dict[str, Any], *, second: bool, window: int = 7, num_classes: int = 1000) -> nn.Sequential:
    """EMO or, ``second``, EMOv2, from ``depths``, ``embed_dims``, ``exp_ratios``, ``dw_kernels`` and ``head_dims``."""
    widths = config["embed_dims"]
    x = widths[0] // 2 if second else 24
    k = 3 if second else config["dw_kernels"][0]
    layers = conv_norm(3, x, k, 2, bias=True, eps=1e-6, act=nn.SiLU() if second else None)
    layers += conv_norm(x, x, k, 1, x, eps=1e-6, act=nn.SiLU())
    layers += [*([] if second else [SiluGate(x)]), nn.Conv2d(x, x, 1, bias=False)]
    for stage, depth in enumerate(config["depths"]):
        late, ratio, width = stage > 1, config["exp_ratios"][stage], widths[stage]
        for i in range(depth):
            heads = width // config["head_dims"][stage] if late and i else 0
            mid = int(x * (ratio if i else 2 * ratio))
            shape = (x, width, mid, config["dw_kernels"][stage], 1 if i else 2)
            layers.append(MobileBlock(*shape, late=late, heads=heads, window=window, second=second))
            x = width
    return nn.Sequential(*layers, ChannelNorm(x), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(x, num_classes))


# -- LeYOLO: a table of layers, as LilianHollard/LeYOLO's configuration files resolve ----------------------------------

YOLO: dict[str, float] = {"eps": 1e-3, "momentum": 0.03}


def _silu(cin: int, cout: int, k: int, s: int = 1, groups: int = 1, bias: bool = False) -> list[nn.Module]:
    return conv_norm(cin, cout, k, s, groups, act=nn.SiLU(), bias=bias, **YOLO)  # type: ignore[arg-type]


class Sppf(nn.Module):
    """1x1, three 5x5 maxima in a chain, all four concatenated, 1x1."""

    def __init__(self, cin: int, hidden: int, cout: int) -> None:
        super().__init__()
        self.first, self.last = nn.Sequential(*_silu(cin, hidden, 1)), nn.Sequential(*_silu(4 * hidden, cout, 1))

    def forward(self, x: Tensor) -> Tensor:
        maps = [self.first(x)]
        for _ in range(3):
            maps.append(F.max_pool2d(maps[-1], 5, 1, 2))
        result: Tensor = self.last(torch.cat(maps, 1))
        return result


class Leyolo(nn.Module):
    """The layers of a table; outputs are ``box0``, ``class0``, ``box1`` ... as the detection layer reads its levels."""

    def __init__(self, rows: Sequence[dict[str, Any]], unused: Sequence[int]) -> None:
        super().__init__()
        self.rows, self.unused = rows, set(unused)
        self.layers = nn.ModuleList([nn.Identity() if row["i"] in self.unused else self._layer(row) for row in rows])

    def _layer(self, row: dict[str, Any]) -> nn.Module:
        kind = row["type"]
        if kind == "conv":
            return nn.Sequential(*_silu(row["cin"], row["cout"], row["k"], row["s"], bias=True))
        if kind in ("ibn", "ibn_nopw"):
            cin, mid, cout = row["cin"], row["cmid"], row["cout"]
            layers = _silu(cin, mid, 1, bias=True) if kind == "ibn" else []
            layers += _silu(mid, mid, row["k"], row["s"], mid, bias=True)
            layers += conv_norm(mid, cout, 1, bias=True, **YOLO)  # type: ignore[arg-type]
            return Add(*layers) if row["residual"] else nn.Sequential(*layers)
        if kind == "sppf":
            return Sppf(row["cin"], row["c_hidden"], row["cout"])
        if kind == "detect_dnin":
            wide = ((row["c_box"], 4 * row["reg_max"]), (row["c_cls"], row["nc"]))
            return nn.ModuleList(
                nn.Sequential(*_silu(level["cin"], c, 1), *self._dw(c), nn.Conv2d(c, out, 1))
                for level in row["levels"]
                for c, out in wide
            )
        return nn.Identity()

    def _dw(self, c: int) -> list[nn.Module]:
        return _silu(c, c, 3, 1, c) + _silu(c, c, 3, 1, c)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        outputs: list[Tensor] = []
        for row, layer in zip(self.rows, self.layers, strict=True):
            if row["i"] in self.unused:
                outputs.append(x)
                continue
            sources = row["src"] if isinstance(row["src"], list) else [row["src"]]
            inputs = [outputs[i] if outputs else x for i in sources]
            if row["type"] == "detect_dnin":
                heads = iter(layer)  # type: ignore[call-overload]
                return {f"{what}{i}": next(heads)(y) for i, y in enumerate(inputs) for what in ("box", "class")}
            if row["type"] == "concat":
                outputs.append(torch.cat(inputs, 1))
            elif row["type"] == "upsample_nearest2x":
                outputs.append(F.interpolate(inputs[0], scale_factor=2, mode="nearest"))
            else:
                outputs.append(layer(inputs[0]))
        raise ValueError("a LeYOLO's last layer is its detection layer")


# -- ResNetV2: keras.applications, resnet_common.py --------------------------------------------------------------------


class KerasBottleneck(nn.Module):
    """``block2``: normalisation first; zeros around the 3x3 convolution; the last block of a stage has the stride."""

    def __init__(self, cin: int, width: int, stride: int, shortcut: bool) -> None:
        super().__init__()
        how: dict[str, Any] = {"eps": 1.001e-5, "momentum": 0.01, "act": nn.ReLU()}
        self.before = nn.Sequential(nn.BatchNorm2d(cin, 1.001e-5, 0.01), nn.ReLU())
        self.shortcut = nn.Conv2d(cin, 4 * width, 1, stride) if shortcut else None
        layers = conv_norm(cin, width, 1, **how) + conv_norm(width, width, 3, stride, **how)
        self.branch = nn.Sequential(*layers, nn.Conv2d(width, 4 * width, 1))
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        y = self.before(x)
        residual = F.max_pool2d(x, 1, self.stride) if self.shortcut is None else self.shortcut(y)
        result: Tensor = residual + self.branch(y)
        return result


def keras_resnet_v2(blocks: Sequence[int]) -> nn.Sequential:
    """``ResNet50V2`` with blocks 3, 4, 6, 3; its first pooling pads with zeros, not with minus infinity."""
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 7, 2, 3), nn.ZeroPad2d(1), nn.MaxPool2d(3, 2)]
    x = 64
    for stage, count in enumerate(blocks):
        for i in range(count):
            stride = 2 if stage < 3 and i == count - 1 else 1
            layers.append(KerasBottleneck(x, 64 << stage, stride, i == 0))
            x = 256 << stage
    layers += [nn.BatchNorm2d(x, 1.001e-5, 0.01), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(x, 1000))
