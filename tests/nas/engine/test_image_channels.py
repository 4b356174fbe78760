"""Images of any number of channels and depth, from a folder to a file for a runtime: trained, measured, exported."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

import nas
from evaluators.devices.catalog import open_device
from nas.hashing.canonical import canonical
from nas.study.artifacts import read_artifact
from search_spaces.export.metadata import onnx_metadata, tflite_metadata
from search_spaces.export.onnx.writer import write_onnx
from search_spaces.export.tflite.writer import write_tflite
from search_spaces.export.weights import weights_from_module
from search_spaces.input_channels import space_for_channels
from search_spaces.space.genotype import SpaceError

Writer = Callable[[Path, np.random.Generator, bool], None]


def write_grey(path: Path, rng: np.random.Generator, bright: bool) -> None:
    level = 180 if bright else 60
    Image.fromarray(rng.integers(level - 40, level + 40, (24, 24)).astype(np.uint8)).save(path.with_suffix(".png"))


def write_grey_16_bit(path: Path, rng: np.random.Generator, bright: bool) -> None:
    level = 3000 if bright else 1000  # twelve of sixteen bits, as cameras give them
    pixels = rng.integers(level - 500, level + 500, (24, 24)).astype(np.uint16)
    Image.fromarray(pixels).save(path.with_suffix(".png"))


def write_six_bands(path: Path, rng: np.random.Generator, bright: bool) -> None:
    level = 180 if bright else 60
    pixels = rng.integers(level - 40, level + 40, (24, 24, 6)).astype(np.uint8)
    tifffile.imwrite(path.with_suffix(".tif"), pixels, photometric="minisblack")


KINDS: dict[str, tuple[Writer, int]] = {
    "grey": (write_grey, 1),
    "grey, 16 bit": (write_grey_16_bit, 1),
    "six bands": (write_six_bands, 6),
}


@pytest.mark.parametrize("kind", KINDS)
def test_images_are_trained_on_measured_and_exported_with_their_own_shape(tmp_path: Path, kind: str) -> None:
    write, channels = KINDS[kind]
    rng = np.random.default_rng(0)
    for index in range(32):
        name = "bright" if index % 2 else "dark"
        (tmp_path / "images" / name).mkdir(parents=True, exist_ok=True)
        write(tmp_path / "images" / name / f"{index:03}", rng, bool(index % 2))
    result = nas.search(
        "mobilenetv2",
        "edgetpu",
        data=f"folder:{tmp_path / 'images'}",
        training={"steps": 12, "batch_size": 8, "image_size": 32},
        space_options={"image_size": 64},
        trials=12,
        train=2,
        train_published=False,
        workers=0,
        directory=tmp_path / "runs",
    )
    assert all(c.metrics["accuracy"] >= 0.5 for c in result.front)
    best = result.front[0]
    graph = result.graph(best)
    assert graph.input_shape == (channels, 64, 64)
    path = result.weights(best)
    assert path is not None
    tensors, metadata = read_artifact(path)
    assert metadata["image_channels"] == str(channels)
    assert json.loads(metadata["class_names"]) == ["bright", "dark"]
    mean, std = json.loads(metadata["mean"]), json.loads(metadata["std"])
    assert len(mean) == len(std) == channels
    if kind == "grey, 16 bit":
        assert 1000 < mean[0] < 3000
        assert 500 < std[0] < 1500
    else:
        assert mean == std == [127.5] * channels

    module = result.trained_module(best)
    proxy = module.graph
    assert proxy == canonical(result.space.with_options(image_size=32, width=0.5).graph(best.genotype))
    assert metadata.pop("graph") == proxy.to_json()
    weights = weights_from_module(module)
    assert set(tensors) == set(module.state_dict())
    pytest.importorskip("onnxruntime")
    onnx_file = write_onnx(proxy, weights=weights, metadata=metadata)
    assert onnx_metadata(onnx_file) == metadata
    import onnxruntime

    session = onnxruntime.InferenceSession(onnx_file)
    assert session.get_inputs()[0].shape == [1, channels, 32, 32]
    with closing(open_device("onnxruntime?threads=1&max_s=0.1&warmup_s=0")) as device:
        assert device.measure(graph).latency_ms > 0

    litert = pytest.importorskip("ai_edge_litert.interpreter")
    tflite_file = write_tflite(proxy, precision="int8", weights=weights, metadata=metadata)
    assert tflite_metadata(tflite_file) == metadata
    interpreter = litert.Interpreter(model_content=tflite_file)
    assert interpreter.get_input_details()[0]["shape"].tolist() == [1, 32, 32, channels]
    plain = litert.Interpreter(model_content=write_tflite(proxy, precision="int8", weights=weights))
    sample = rng.integers(-128, 127, (1, 32, 32, channels)).astype(np.int8)
    outputs = []
    for one in (interpreter, plain):
        one.allocate_tensors()
        one.set_tensor(one.get_input_details()[0]["index"], sample)
        one.invoke()
        outputs.append(one.get_tensor(one.get_output_details()[0]["index"]))
    assert np.array_equal(*outputs)


@pytest.mark.parametrize("name", ["mobilenetv3", "nasbench201", "leyolo"])
def test_any_space_takes_any_number_of_channels(name: str) -> None:
    import random

    space = nas.load_space(name)
    genotype = space.sample(random.Random(0))
    colour = space.graph(genotype)
    for channels in (1, 6):
        graph = space_for_channels(space, channels).graph(genotype)
        assert graph.input_shape == (channels, *colour.input_shape[1:])
        stem = next(node for node in colour.nodes if node.op == "conv")
        kernel = stem.attr("kernel")
        assert graph.params - colour.params == (channels - 3) * stem.shape[0] * kernel[0] * kernel[1]
    assert space_for_channels(space, 3).graph(genotype) == colour
    with pytest.raises(SpaceError, match="at least one channel"):
        space_for_channels(space, 0)
