"""Published networks against others' code, weights copied over. `python results/spaces/forward_oracle.py [NAME ...]`

The implementations are timm's, torchvision's and Keras', from a folder that ORACLES names (default /tmp/oracle; made by
`pip install --no-deps --target /tmp/oracle timm torchvision safetensors huggingface_hub keras absl-py h5py namex optree
ml-dtypes rich markdown-it-py mdurl pygments`), and the plain PyTorch of tests/support/plain_networks.py. Rows go to
results/spaces/forward_oracle.csv. Everything is computed in float64, on one thread.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["KERAS_BACKEND"] = "torch"

import csv
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from torch import Tensor, nn

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

import nas  # noqa: E402
from search_spaces.graph.graph import Graph  # noqa: E402
from search_spaces.published.networks import networks  # noqa: E402
from search_spaces.pytorch.from_module import UnsupportedModule, graph_from_module  # noqa: E402
from search_spaces.pytorch.module import to_module  # noqa: E402
from tests.support import plain_networks as plain  # noqa: E402

FACTS = Path(os.environ.get("FACTS", HERE.parents[2] / "shared" / "facts"))
TF: dict[str, Any] = {"bn_eps": 1e-3, "pad_type": "same"}
ODD_PIXELS = 97


class Case(NamedTuple):
    """A network, options for its space, and an implementation: ``make(pixels)`` gives its module."""

    network: str
    oracle: str
    make: Callable[[int], nn.Module]
    options: Mapping[str, Any] = {}
    same: bool = True  # whether the implementation has the network's conventions
    odd: int = ODD_PIXELS


Change = Callable[[nn.Module], nn.Module]


def as_it_is(model: nn.Module) -> nn.Module:
    return model


def timm_model(name: str, change: Change = as_it_is, **options: Any) -> Callable[[int], nn.Module]:
    def make(pixels: int) -> nn.Module:
        import timm  # type: ignore[import-not-found]

        return change(timm.create_model(name, pretrained=False, **options))

    return make


def vision_model(name: str, change: Change = as_it_is) -> Callable[[int], nn.Module]:
    def make(pixels: int) -> nn.Module:
        from torchvision import models  # type: ignore[import-not-found]

        options = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
        return change(getattr(models, name)(weights=None, **options))

    return make


def stride_first(model: nn.Module) -> nn.Module:
    """The stride of a bottleneck moved from its 3x3 to its first 1x1 convolution, where the paper has it."""
    for block in model.modules():
        if type(block).__name__ == "Bottleneck":
            block.conv1.stride, block.conv2.stride = block.conv2.stride, (1, 1)  # type: ignore[assignment]
    return model


def tensorflow_padding(model: nn.Module) -> nn.Module:
    """SAME padding in place of symmetric padding and of ``ceil_mode``; inception_utils.py's constants."""
    from timm.layers import Conv2dSame  # type: ignore[import-not-found]
    from timm.layers.pool2d_same import MaxPool2dSame  # type: ignore[import-not-found]

    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                child.eps, child.momentum = 1e-3, 3e-4
            elif type(child) is nn.Conv2d:
                same = Conv2dSame(child.in_channels, child.out_channels, child.kernel_size, child.stride, bias=False)
                setattr(parent, name, same)
            elif isinstance(child, nn.MaxPool2d):
                setattr(parent, name, MaxPool2dSame(child.kernel_size, child.stride))
    return model


class KerasModel(nn.Module):
    """A model of keras.applications that takes and gives what the others do: channels first, logits."""

    def __init__(self, name: str, pixels: int, scale: float) -> None:
        super().__init__()
        import keras  # type: ignore[import-not-found]

        keras.config.set_floatx("float64")
        keras.config.set_dtype_policy("float64")
        make = getattr(keras.applications, name)
        self.called: list[Any] = []  # in the order of the code; model.layers is sorted by depth
        ordinary = keras.layers.Layer.__call__

        def call(layer: Any, *arguments: Any, **options: Any) -> Any:
            self.called.append(layer)
            return ordinary(layer, *arguments, **options)

        keras.layers.Layer.__call__ = call
        try:
            self.model = make(weights=None, classifier_activation=None, input_shape=(pixels, pixels, 3))
        finally:
            keras.layers.Layer.__call__ = ordinary
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.model(self.scale * x.permute(0, 2, 3, 1), training=self.training)
        return made


def keras_model(name: str, scale: float = 1) -> Callable[[int], nn.Module]:
    """``scale`` undoes what the model does to its images first."""
    return lambda pixels: KerasModel(name, pixels, scale)


def sheet(name: str) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((FACTS / f"{name}.yaml").read_text(encoding="utf-8"))["architectures"]
    return read


def cases() -> Iterator[Case]:
    v1 = {**TF, "bn_momentum": 3e-4}
    yield Case("mobilenet_v1", "timm mobilenetv1_100, SAME, slim's constants", timm_model("mobilenetv1_100", **v1))
    yield Case("mobilenet_v1", "Keras MobileNet", keras_model("MobileNet"), {}, False)
    v2 = {**TF, "bn_momentum": 3e-3}
    yield Case("mobilenet_v2", "timm mobilenetv2_100, SAME, slim's constants", timm_model("mobilenetv2_100", **v2))
    yield Case("mobilenet_v2", "Keras MobileNetV2", keras_model("MobileNetV2"))
    yield Case("mobilenetv2", "timm mobilenetv2_100", timm_model("mobilenetv2_100"))
    yield Case("mobilenetv2", "torchvision mobilenet_v2", vision_model("mobilenet_v2"))
    yield Case("mobilenetv2", "plain PyTorch", lambda _: plain.mobilenetv2())
    for size in ("large", "small"):
        name = f"mobilenetv3_{size}"
        yield Case(name, f"timm {name}_100", timm_model(f"{name}_100"))
        yield Case(name, f"torchvision mobilenet_v3_{size}", vision_model(f"mobilenet_v3_{size}"), {}, False)
        yield Case(name, f"timm tf_{name}_100", timm_model(f"tf_{name}_100"), {}, False)
    for size in ("conv_small", "conv_medium", "conv_large", "hybrid_medium", "hybrid_large"):
        yield Case(f"mobilenetv4_{size}", f"timm mobilenetv4_{size}", timm_model(f"mobilenetv4_{size}"))
    yield Case("mnasnet_a1", "timm semnasnet_100", timm_model("semnasnet_100"))
    yield Case("mnasnet_b1", "timm mnasnet_100", timm_model("mnasnet_100"))
    yield Case("mnasnet_b1", "torchvision mnasnet1_0", vision_model("mnasnet1_0"), {}, False)
    yield Case("mnasnet_small", "timm mnasnet_small", timm_model("mnasnet_small"))
    yield Case("fbnet_c", "timm fbnetc_100", timm_model("fbnetc_100"), {"implementation": "timm"})
    for name, last in (("fbnet_a", 1504), ("fbnet_b", 1984), ("fbnet_c", 1984)):
        text = networks()[name].architecture
        yield Case(name, "plain PyTorch", lambda _, text=text, last=last: plain.fbnet(text, last))  # type: ignore[misc]
    for name in ("proxyless_mobile", "proxyless_cpu", "proxyless_gpu"):
        row = networks()[name]
        filters = row.options.get("filters", (32, 16, 32, 40, 80, 96, 192, 320, 1280))
        text = row.architecture
        yield Case(name, "plain PyTorch", lambda _, t=text, f=filters: plain.proxylessnas(t, f))  # type: ignore[misc]
    yield Case("efficientnet_b0", "timm tf_efficientnet_b0", timm_model("tf_efficientnet_b0", bn_momentum=0.01))
    yield Case("efficientnet_b0", "Keras EfficientNetB0", keras_model("EfficientNetB0", 255))
    yield Case("efficientnet_b0", "timm efficientnet_b0", timm_model("efficientnet_b0"), {}, False)
    yield Case("efficientnet_b0", "torchvision efficientnet_b0", vision_model("efficientnet_b0"), {}, False)
    lite = timm_model("tf_efficientnet_lite0", bn_momentum=0.01)
    yield Case("efficientnet_lite0", "timm tf_efficientnet_lite0", lite)
    es = timm_model("tf_efficientnet_es", bn_momentum=0.01)
    yield Case("efficientnet_edgetpu_s", "timm tf_efficientnet_es", es)
    for letter in "abcde":
        yield Case(f"tinynet_{letter}", f"timm tinynet_{letter}", timm_model(f"tinynet_{letter}"))
    edgetpu = timm_model("mobilenet_edgetpu_100", **TF, bn_momentum=3e-3)
    label = "timm mobilenet_edgetpu_100, SAME, slim's constants"
    yield Case("mobilenet_edgetpu", label, edgetpu)
    yield Case("mobilenet_edgetpu", "timm mobilenet_edgetpu_100", timm_model("mobilenet_edgetpu_100"), {}, False)
    yield Case("densenet121", "torchvision densenet121", vision_model("densenet121"))
    yield Case("densenet121", "timm densenet121", timm_model("densenet121"))
    yield Case("densenet121", "Keras DenseNet121", keras_model("DenseNet121"), {}, False)
    slim = vision_model("googlenet", tensorflow_padding)
    yield Case("inception_v1", "torchvision googlenet, SAME, slim's constants", slim)
    yield Case("inception_v1", "torchvision googlenet", vision_model("googlenet"), {}, False)
    yield Case("resnet50_v1", "torchvision resnet50, stride first", vision_model("resnet50", stride_first))
    yield Case("resnet50_v1", "torchvision resnet50", vision_model("resnet50"), {}, False)
    for name, blocks, theirs in (("resnet50_v2", (3, 4, 6, 3), "50"), ("resnet152_v2", (3, 8, 36, 3), "152")):
        yield Case(name, "plain PyTorch", lambda _, blocks=blocks: plain.keras_resnet_v2(blocks))  # type: ignore[misc]
        yield Case(name, f"Keras ResNet{theirs}V2", keras_model(f"ResNet{theirs}V2"))
    for version, sizes in (("emo", "1m 2m 5m 6m"), ("emov2", "1m 2m 5m 20m 50m")):
        for size in sizes.split():
            config = sheet("emo")[f"{'EMO' if version == 'emo' else 'EMOv2'}_{size.upper()}"]["config"]
            yield Case(f"{version}_{size}", "plain PyTorch", plain_emo(config, version == "emov2"))
    for size in ("Nano", "Small", "Medium", "Large"):
        row_of_sheet = sheet("leyolo")[f"LeYOLO-{size}"]
        yield Case(f"leyolo_{size.lower()}", "plain PyTorch", plain_leyolo(row_of_sheet), odd=96)


def plain_emo(config: dict[str, Any], second: bool) -> Callable[[int], nn.Module]:
    return lambda pixels: plain.emo(config, second=second)


def plain_leyolo(row: dict[str, Any]) -> Callable[[int], nn.Module]:
    return lambda pixels: plain.Leyolo(row["layers"], row["dead_layers"])


# -- copying weights ---------------------------------------------------------------------------------------------------


def calibrated(module: nn.Module, x: Tensor) -> nn.Module:
    """Running statistics of ``x``, so that values stay of the size that they have in a trained network."""
    norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    module.train()(x)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return module


def shaken(module: nn.Module, seed: int) -> nn.Module:
    """Every scale and shift away from its initial value, so that each of them matters."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in module.state_dict().items():
            if not value.is_floating_point():
                continue
            noise = torch.rand(value.shape, generator=generator, dtype=value.dtype)
            if value.dim() > 1:
                value.mul_(0.8 + 0.4 * noise)
            elif name.endswith("weight"):
                value.copy_(0.5 + noise)
            elif name.endswith("bias"):
                value.copy_(noise - 0.5)
    return module


class Layer(NamedTuple):
    """The tensors of one layer in our order: weight, bias, running mean, running variance, where it has them."""

    tensors: list[Tensor]


def our_layers(module: nn.Module) -> list[Layer]:
    return [
        Layer([v for v in layer.state_dict().values() if v.is_floating_point()])
        for layer in module.layers.values()  # type: ignore[operator]
    ]


def used_layers(reference: nn.Module, run: Callable[[], Any]) -> list[Layer]:
    """The layers with weights of an implementation, in the order of their first use."""
    used: list[nn.Module] = []
    leaves = [m for m in reference.modules() if next(m.parameters(recurse=False), None) is not None]
    hooks = [leaf.register_forward_hook(lambda m, *_: None if m in used else used.append(m)) for leaf in leaves]
    run()
    for hook in hooks:
        hook.remove()
    assert len(used) == len(leaves), "a layer of the reference is not used"
    return [Layer([v for v in m.state_dict().values() if v.is_floating_point()]) for m in used]


def keras_layers(model: KerasModel) -> list[Layer]:
    """The same of a Keras model; its kernels have the channels last, its depthwise ones no group axis."""
    made = []
    for layer in dict.fromkeys(model.called):
        kind, values = type(layer).__name__, [w.value.data for w in layer.weights]
        if not values or kind == "Normalization":
            continue
        if kind == "Conv2D":
            values[0] = values[0].permute(3, 2, 0, 1)
        elif kind == "DepthwiseConv2D":
            values[0] = values[0].permute(2, 3, 0, 1)
        elif kind == "Dense":
            values[0] = values[0].T
        made.append(Layer(values))
    return made


def shapes(layer: Layer) -> list[int]:
    """What tells layers apart: how many tensors, of how many elements. A 1x1 convolution may be a linear layer."""
    return [v.numel() for v in layer.tensors]


def copy(sources: list[Layer], targets: list[Layer]) -> tuple[list[Layer], int]:
    """Weights over, in order; where an implementation runs branches in another order, the next layer that fits.

    Returns the layers that got them, in order, and how many were not the next one.
    """
    assert len(sources) == len(targets), f"{len(sources)} layers, but the reference has {len(targets)}"
    left, chosen, moved = list(targets), list[Layer](), 0
    with torch.no_grad():
        for source in sources:
            place = next(i for i, target in enumerate(left) if shapes(target) == shapes(source))
            moved += place > 0
            chosen.append(left.pop(place))
            for mine, theirs in zip(source.tensors, chosen[-1].tensors, strict=True):
                theirs.copy_(mine.reshape(theirs.shape))
    return chosen, moved


# -- comparing ---------------------------------------------------------------------------------------------------------


def as_dict(made: Any) -> dict[str, Tensor]:
    return dict(made) if isinstance(made, Mapping) else {"": made}


def apart(mine: Any, theirs: Any) -> tuple[float, float]:
    """The largest absolute difference, and the largest value of the reference."""
    a, b = as_dict(mine), as_dict(theirs)
    assert len(a) == len(b)
    pairs = [(a[k], b[k if k in b else ""]) for k in a]
    return (
        max((m - t.reshape(m.shape)).abs().max().item() for m, t in pairs),
        max(t.abs().max().item() for _, t in pairs),
    )


class Compared(NamedTuple):
    """Largest differences at one resolution: evaluated, trained, and of running statistics after one step."""

    pixels: int
    evaluated: float
    trained: float
    statistics: float
    largest: float
    moved: int


def compare(case: Case, pixels: int, train: bool) -> Compared:
    graph = nas.load_network(case.network, **{**case.options, "image_size": pixels})
    torch.manual_seed(0)
    x = torch.randn(3 if train else 2, 3, pixels, pixels, dtype=torch.float64)
    with torch.no_grad():
        mine = calibrated(shaken(to_module(graph).double(), 1), x).eval()
    theirs = case.make(pixels).double().eval()
    for module in theirs.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    with torch.no_grad():
        run = lambda: theirs(x)  # noqa: E731
        targets = keras_layers(theirs) if isinstance(theirs, KerasModel) else used_layers(theirs, run)
        sources = our_layers(mine)
        targets, moved = copy(sources, targets)
        evaluated, largest = apart(mine(x), theirs(x))
        if not train or isinstance(theirs, KerasModel):
            return Compared(pixels, evaluated, float("nan"), float("nan"), largest, moved)
        x = torch.randn_like(x)  # not the images whose statistics the network has: a momentum would not be seen
        trained, _ = apart(mine.train()(x), theirs.train()(x))
    statistics = [
        (a - b).abs().max().item()
        for ours, others in zip(sources, targets, strict=True)
        for a, b in zip(ours.tensors[2:], others.tensors[2:], strict=True)
    ]
    return Compared(pixels, evaluated, trained, max(statistics), largest, moved)


def key_of(case: Case, graph: Graph) -> tuple[str, str]:
    """Whether the implementation's graph has the network's key, and the first difference in words."""
    pixels = graph.input_shape[1]
    reference = case.make(pixels).eval()
    if isinstance(reference, KerasModel):
        return "-", "not read as a graph (Keras)"
    try:
        theirs = graph_from_module(reference, graph.input_shape)
    except UnsupportedModule as error:
        return "-", f"not read as a graph: {error}"
    equal = nas.functional_hash(theirs) == nas.functional_hash(graph)
    from nas.hashing.isomorphism import first_difference

    return ("yes" if equal else "no"), first_difference(graph, theirs)


def allow_torchvision_without_its_operators() -> Any:
    """torchvision's wheel is of another build; its Python registers shapes for operators that must exist."""
    library: Any = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library


COLUMNS = (
    *("network", "oracle", "conventions", "key_equal", "pixels", "difference_eval"),
    *("odd_pixels", "difference_eval_odd", "difference_train_odd", "difference_statistics_odd"),
    *("largest_output", "layers_out_of_order", "first_difference"),
)


def row_of(case: Case) -> dict[str, Any]:
    graph = nas.load_network(case.network, **case.options)
    equal, words = key_of(case, graph)
    published = compare(case, graph.input_shape[1], train=False)
    odd = compare(case, case.odd, train=True)
    values = (
        *(case.network, case.oracle, "same" if case.same else "other", equal),
        *(published.pixels, f"{published.evaluated:.1e}", odd.pixels, f"{odd.evaluated:.1e}"),
        *(f"{odd.trained:.1e}", f"{odd.statistics:.1e}", f"{published.largest:.1e}", published.moved, words),
    )
    return dict(zip(COLUMNS, values, strict=True))


def rows_of(wanted: list[str]) -> Iterator[dict[str, Any]]:
    for case in cases():
        if wanted and not any(case.network.startswith(name) for name in wanted):
            continue
        start = time.perf_counter()
        try:
            row = row_of(case)
        except Exception as error:  # noqa: BLE001 - one implementation that fails must not hide the others
            row = {**dict.fromkeys(COLUMNS, ""), "network": case.network, "oracle": case.oracle}
            row["first_difference"] = f"failed: {type(error).__name__}: {error}"
        line = " | ".join(str(row[column]) for column in COLUMNS[:-1])
        print(f"{line} | {row['first_difference'][:300]} ({time.perf_counter() - start:.0f} s)", flush=True)
        yield row


def main() -> None:
    torch.set_num_threads(1)
    sys.path.append(os.environ.get("ORACLES", "/tmp/oracle"))  # noqa: S108
    library = allow_torchvision_without_its_operators()
    table = HERE / "forward_oracle.csv"
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    if sys.argv[1:] and table.exists():  # the other rows stay
        with table.open(encoding="utf-8", newline="") as file:
            rows = {(row["network"], row["oracle"]): dict(row) for row in csv.DictReader(file)}
    order = [(case.network, case.oracle) for case in cases()]
    for row in rows_of(sys.argv[1:]):
        rows[row["network"], row["oracle"]] = row
        with table.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows[key] for key in order if key in rows)
    del library


if __name__ == "__main__":
    main()
