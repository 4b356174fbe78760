"""Trained networks through the converters: what comes out computes what PyTorch computes, or nothing comes out."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from math import inf, log10
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search_spaces.catalog import load_network
from search_spaces.export import converters as conversion
from search_spaces.export.converters import (
    Agreement,
    ConversionError,
    ConverterMissing,
    OutputsDiffer,
    converter_python,
    export_onnx,
    export_tflite,
    litert_environment,
    litert_export,
    litert_worker,
    make_environment,
    onnx_export,
)
from search_spaces.export.converters import __main__ as command
from search_spaces.export.converters.exported import agreement, check_float, check_int8, snr_db
from search_spaces.export.converters.litert_file import file_outputs, float_operators, operators
from search_spaces.export.errors import ModelFileError
from search_spaces.export.onnx import write_onnx
from search_spaces.export.tflite import tflite_program, write_tflite
from search_spaces.export.weights import Weights, WeightsError, random_inputs, random_weights, weights_from_module
from search_spaces.graph.builder import Builder
from search_spaces.graph.graph import Graph
from tests.search_spaces.export.test_tflite import OPERATIONS, SMALL_OPERATORS, small_network, with_statistics

onnx = pytest.importorskip("onnx")
schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
ROOT = Path(__file__).parents[3]


def with_weights(graph: Graph, change: Callable[[Any], Any]) -> Weights:
    """Weights of a graph whose first convolution's are changed."""
    weights = random_weights(graph)
    node = next(i for i, n in enumerate(graph.nodes) if n.op == "conv")
    return Weights({**weights.by_node, node: {"weight": change(weights[node]["weight"])}})


def every_operation(leave_out: tuple[str, ...] = ()) -> Graph:
    """One network with an output for each operation."""
    b = Builder()
    x = b.input((6, 8, 10))
    return b.build({name: OPERATIONS[name](b, x) for name in OPERATIONS if name not in leave_out})


def several_inputs() -> Graph:
    """Inputs that pass, outputs that share a value, names that a file has uses for."""
    b = Builder()
    x, y = b.input((3, 4, 4)), b.input((5,))
    z = b.act(x, "relu")
    return b.build({"z": z, "relu0": z, "x": x, "layers.3.weight": b.linear(y, 2), "0": b.zero((2, 3, 4))})


def signal_and_volume() -> Graph:
    b = Builder()
    x = b.act(b.norm(b.conv(b.input((3, 4, 8, 8)), 8, 3, 2)), "relu")
    signal = b.pool(b.conv(b.input((4, 20)), 6, 5, 2, padding=2), "max", 3, 2, padding=1)
    return b.build({"volume": b.linear(b.reshape(b.global_pool(x), (8,)), 2), "signal": signal})


# -- the comparison ----------------------------------------------------------------------------------------------------


def test_signal_to_noise_ratio_in_closed_form() -> None:
    signal = np.array([-1.0, 1.0, -1.0, 1.0], np.float32) + 5
    assert snr_db(signal, signal) == inf
    assert snr_db(signal, signal + 0.5) == pytest.approx(10 * log10(4))  # about the mean, not about zero
    assert snr_db(signal, np.full(4, 5.0, np.float32)) == pytest.approx(0)
    constant = np.full(3, 2.0, np.float32)
    assert snr_db(constant, constant * 1.1) == pytest.approx(20, abs=1e-4)
    assert snr_db(constant * 0, constant) == -inf


def test_outputs_are_compared_by_name_and_shape() -> None:
    reference = {"a": np.ones((2, 3), np.float32), "b": np.arange(4, dtype=np.float32)}
    near = {"a": reference["a"] * 1.001, "b": reference["b"], "more": reference["a"]}
    first, second = agreement([reference], [near], "test")
    assert (first.output, second) == ("a", ("b", 0.0, inf))
    assert first.largest_error == pytest.approx(1e-3, rel=1e-3)
    with pytest.raises(OutputsDiffer, match=r"'a' must be \(2, 3\), it is \(3, 2\)"):
        agreement([reference], [{**near, "a": near["a"].T}], "test")
    with pytest.raises(OutputsDiffer, match=r"'b' must be .* it is missing"):
        agreement([reference], [{"a": near["a"]}], "test")
    with pytest.raises(OutputsDiffer, match="not finite"):
        agreement([reference], [{**near, "b": np.full(4, inf)}], "test")
    tight = (Agreement("a", 1e-7, 130.0), Agreement("b", 1e-7, 130.0))
    with pytest.raises(
        OutputsDiffer, match=r"'a' is 0\.001 of its largest magnitude from PyTorch's, more than 0\.0001"
    ):
        check_float((first, second), tight, "test")
    check_float((first, second), (tight[0]._replace(largest_error=3e-4), tight[1]), "test")  # rounds as much by itself
    with pytest.raises(OutputsDiffer, match=r"more than 0\.01"):
        check_float((first._replace(largest_error=0.02),), (tight[0]._replace(largest_error=1.0),), "test")
    with pytest.raises(OutputsDiffer, match="'a' has a signal-to-noise ratio of 60"):
        check_int8((first,), 60.1, "test")


# -- ONNX --------------------------------------------------------------------------------------------------------------


def kinds(data: bytes) -> Counter[str]:
    """Operators, the two names of pooling over the image as one, without Identity."""
    counts = Counter(node.op_type for node in onnx.load_from_string(data).graph.node)
    counts["AveragePool"] += counts.pop("GlobalAveragePool", 0)
    counts.pop("Identity", None)
    return +counts


def test_onnx_has_the_operators_that_the_writer_has(tmp_path: Path) -> None:
    graph = load_network("mobilenetv3_small", image_size=64)
    weights = weights_from_module(with_statistics(graph))
    file = export_onnx(graph, tmp_path / "net.onnx", weights=weights)
    assert kinds(file.path.read_bytes()) == kinds(write_onnx(graph, weights=weights))
    assert [(a.output, a.largest_error < 1e-4) for a in file.agreement] == [(graph.outputs[0][0], True)]
    assert file.made_by["torch"].startswith("2.")
    assert (file.file_format, file.precision) == ("onnx", "float32")


def test_onnx_files_repeat_and_carry_nothing_of_this_machine(tmp_path: Path) -> None:
    graph = small_network()
    first, second = [export_onnx(graph, tmp_path / f"{i}.onnx", seed=3).path.read_bytes() for i in range(2)]
    assert first == second
    assert str(ROOT).encode() not in first
    assert b".py" not in first
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0.onnx", "1.onnx"]  # no data beside it
    model = onnx.load_from_string(first)
    assert [v.name for v in (*model.graph.input, *model.graph.output)] == ["input", "output"]
    assert {(o.domain, o.version) for o in model.opset_import} == {("", 20)}
    assert model.graph.node[0].name == "conv0" or model.graph.node[0].output[0].startswith("conv0")


def test_onnx_of_every_operation(tmp_path: Path) -> None:
    graph = every_operation()
    file = export_onnx(graph, tmp_path / "net.onnx")
    assert [a.output for a in file.agreement] == [name for name, _ in graph.outputs]


@pytest.mark.parametrize("graph", [several_inputs(), signal_and_volume()], ids=["passed and shared", "volumes"])
def test_onnx_of_unusual_inputs_and_outputs(graph: Graph, tmp_path: Path) -> None:
    samples = random_inputs(graph.input_shapes, 4, 1)
    file = export_onnx(graph, tmp_path / "net.onnx", samples=samples)
    model = onnx.load(file.path)
    assert [v.name for v in model.graph.input] == ["input0", "input1"]
    assert [v.name for v in model.graph.output] == [name for name, _ in graph.outputs]


def test_a_wrong_onnx_file_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exported = onnx_export._exported
    monkeypatch.setattr(onnx_export, "_exported", lambda graph, _: exported(graph, random_weights(graph, 1)))
    with pytest.raises(OutputsDiffer, match=r"'output' is .* of its largest magnitude from PyTorch's"):
        export_onnx(small_network(), tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


def test_without_onnxscript_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "onnxscript":
            raise PackageNotFoundError(name)
        return "1"

    monkeypatch.setattr("importlib.metadata.version", version)
    with pytest.raises(ConversionError, match=r"needs the package onnxscript; pip install 'nas\[export\]'"):
        export_onnx(small_network(), tmp_path / "net.onnx")


# -- what neither takes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("export", [export_onnx, export_tflite])
def test_bad_arguments_are_refused_before_any_work(export: Callable[..., Any], tmp_path: Path) -> None:
    graph, path = small_network(), tmp_path / "net"
    with pytest.raises(ConversionError, match=r"the folder .*nowhere does not exist"):
        export(graph, tmp_path / "nowhere" / "net")
    with pytest.raises(ConversionError, match="is a folder"):
        export(graph, tmp_path)
    with pytest.raises(ConversionError, match=r"must hold 1 input\(s\), not 2"):
        export(graph, path, samples=[[np.zeros((3, 32, 32))] * 2])
    with pytest.raises(ConversionError, match=r"sample 0 must be \(3, 32, 32\), channels first .* not \(32, 32, 3\)"):
        export(graph, path, samples=[[np.zeros((32, 32, 3))]])
    with pytest.raises(ConversionError, match="sample 1 holds numbers that are not finite"):
        export(graph, path, samples=[[np.zeros((3, 32, 32))], [np.full((3, 32, 32), np.nan)]])
    with pytest.raises(ConversionError, match="must hold arrays of numbers"):
        export(graph, path, samples=[["a picture"]])
    with pytest.raises(WeightsError, match=r"weight of node 1 .* must be"):
        export(graph, path, weights=random_weights(every_operation()))
    assert not list(tmp_path.iterdir())
    assert issubclass(ConversionError, ModelFileError)


def test_int8_needs_samples(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="int8 needs samples"):
        export_tflite(small_network(), tmp_path / "net.tflite", int8=True)


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    graph = small_network()
    with pytest.raises(ConversionError, match="PyTorch's output 'output' is not finite; check the weights"):
        export_onnx(graph, tmp_path / "net.onnx", weights=with_weights(graph, lambda w: w * np.float32(inf)))


# -- the gate of LiteRT files, with another converter in the place of the real one ------------------------------------

SIGN = """
import json, sys, time
from pathlib import Path

sys.path.insert(0, {root!r})
import flatbuffers
from ai_edge_litert import schema_py_generated as schema
from search_spaces.export.converters.litert_worker import read_samples, read_weights
from search_spaces.graph.serialise import graph_from_json
from search_spaces.export.tflite import write_tflite
from search_spaces.export.weights import random_weights

folder, mode = Path(sys.argv[1]), {mode!r}
request = json.loads((folder / "request.json").read_text())
graph = graph_from_json((folder / "graph.json").read_text())
weights = read_weights(folder / "weights.npz")
if mode == "crash":
    print("no room left on the device")
    sys.exit(3)
if mode == "hang":
    time.sleep(60)
if mode == "error":
    (folder / "answer.json").write_text(json.dumps({{"error": "NotImplementedError: aten.strange"}}))
    sys.exit(1)
if mode == "other weights":
    weights = random_weights(graph, 1)
precision, calibration = "int8" if request["int8"] else "float32", None
if request["int8"]:
    samples = read_samples(folder / "samples.npz")
    calibration = [[s["args_0"][0].transpose(2, 0, 1) * (1e-2 if mode == "narrow" else 1)] for s in samples]
if mode == "float":
    precision, calibration = "float32", None
data = write_tflite(graph, precision=precision, weights=weights, calibration=calibration)
document = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
subgraph = document.subgraphs[0]
def rows(names, indices):
    return [schema.TensorMapT(name=name, tensorIndex=index) for name, index in zip(names, indices)]
inputs = ["picture"] if mode == "names" else request["inputs"]
outputs = request["outputs"][::-1] if mode == "swapped" else request["outputs"]
signature = schema.SignatureDefT(rows(inputs, subgraph.inputs), rows(outputs, subgraph.outputs), "serving_default")
document.signatureDefs = [signature] if mode != "unsigned" else None
builder = flatbuffers.Builder(len(data))
builder.Finish(document.Pack(builder), file_identifier=b"TFL3")
model = bytes(builder.Output())
if mode == "cut":
    model = model[: len(model) // 2]
if mode != "no file":
    (folder / "model.tflite").write_bytes(model)
if mode != "silent":
    (folder / "answer.json").write_text(json.dumps({{"made_by": {{"fake": "1"}}}}))
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Puts a converter that misbehaves in ``mode`` in place; the path to export to."""

    def install(mode: str) -> Path:
        script = tmp_path / "worker.py"
        script.write_text(SIGN.format(root=str(ROOT), mode=mode))
        monkeypatch.setattr(litert_export, "WORKER", script)
        monkeypatch.setattr(litert_export, "converter_python", lambda: Path(sys.executable))
        (tmp_path / "out").mkdir()
        return tmp_path / "out" / "net.tflite"

    return install


def two_outputs() -> Graph:
    b = Builder()
    x = b.conv(b.input((3, 16, 16)), 8, 3, 2, bias=True)
    return b.build({"map": b.conv(b.act(x, "relu"), 4, bias=True), "other": b.conv(b.act(x, "hswish"), 4, bias=True)})


@pytest.mark.parametrize("int8", [False, True])
def test_a_right_file_passes(fake: Callable[[str], Path], int8: bool) -> None:
    path, graph = fake("right"), two_outputs()
    samples = random_inputs(graph.input_shapes, 1, 4)
    file = export_tflite(graph, path, int8=int8, samples=samples, min_snr_db=25.0)
    assert file.path == path
    assert file.precision == ("int8" if int8 else "float32")
    assert file.made_by == {"fake": "1"}
    assert [a.output for a in file.agreement] == ["map", "other"]
    assert all(25 < a.snr_db < 60 for a in file.agreement) or not int8
    assert [p.name for p in path.parent.iterdir()] == ["net.tflite"]


@pytest.mark.parametrize(
    ("mode", "int8", "error", "message"),
    [
        ("other weights", False, OutputsDiffer, "of its largest magnitude from PyTorch's"),
        ("swapped", False, OutputsDiffer, "of its largest magnitude from PyTorch's"),
        ("narrow", True, OutputsDiffer, "signal-to-noise ratio of .* dB"),
        ("float", True, OutputsDiffer, "is float32, not int8"),
        ("names", False, OutputsDiffer, r"takes \['picture'\], not \['input'\]"),
        ("unsigned", False, OutputsDiffer, "0 signatures instead of one"),
        ("cut", False, OutputsDiffer, "does not load"),
        ("no file", False, ConversionError, "left no file"),
        ("crash", False, ConversionError, "ended with 3: no room left on the device"),
        ("error", False, ConversionError, "the converter failed: NotImplementedError: aten.strange"),
        ("silent", False, ConversionError, "ended with 0: no output"),
        ("hang", False, ConversionError, "took more than 3 s; raise timeout_s"),
    ],
)
def test_a_wrong_file_is_not_written(
    fake: Callable[[str], Path], mode: str, int8: bool, error: type[Exception], message: str
) -> None:
    path, graph = fake(mode), two_outputs()
    path.write_bytes(b"what was there")
    samples = random_inputs(graph.input_shapes, 1, 2)
    with pytest.raises(error, match=message):
        export_tflite(graph, path, int8=int8, samples=samples, timeout_s=3 if mode == "hang" else 60)
    assert path.read_bytes() == b"what was there"
    assert [p.name for p in path.parent.iterdir()] == ["net.tflite"]


def test_operators_of_a_file_and_those_that_stay_in_float() -> None:
    graph = small_network()
    assert operators(write_tflite(graph, precision="int8")) == SMALL_OPERATORS
    assert float_operators(write_tflite(graph, precision="int8")) == []
    assert float_operators(write_tflite(graph, precision="float32")) == SMALL_OPERATORS


# -- the worker, as far as it runs without litert-torch ---------------------------------------------------------------


def test_the_worker_unpickles_nothing(tmp_path: Path) -> None:
    np.savez(tmp_path / "weights.npz", **{"1/weight": np.array([print], dtype=object)}, allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle=False"):
        litert_worker.read_weights(tmp_path / "weights.npz")
    with pytest.raises(ValueError, match="allow_pickle=False"):
        litert_worker.read_samples(tmp_path / "weights.npz")


def test_the_worker_answers_with_its_error(tmp_path: Path) -> None:
    assert litert_worker.main(tmp_path) == 1
    assert "FileNotFoundError" in json.loads((tmp_path / "answer.json").read_text())["error"]


def test_renaming_keeps_the_numbers_and_aligns_constants() -> None:
    import flatbuffers

    graph = two_outputs()
    document = schema.ModelT.InitFromObj(schema.Model.GetRootAs(write_tflite(graph, precision="float32"), 0))
    subgraph = document.subgraphs[0]
    (input_index,), (a, b) = subgraph.inputs, subgraph.outputs
    outputs = [schema.TensorMapT("output_1", b), schema.TensorMapT("output_0", a)]
    document.signatureDefs = [
        schema.SignatureDefT([schema.TensorMapT("args_0", input_index)], outputs, "serving_default")
    ]
    builder = flatbuffers.Builder(1024)
    builder.Finish(document.Pack(builder), file_identifier=b"TFL3")
    renamed = litert_worker.rename(bytes(builder.Output()), ["input"], ["map", "other"])
    (sample,) = random_inputs(graph.input_shapes, 2, 1)
    (outputs_of_file,) = file_outputs(renamed, ["input"], graph.input_shapes, [sample], "float32")
    assert outputs_of_file["map"].shape == (4, 8, 8)
    assert not np.allclose(outputs_of_file["map"], outputs_of_file["other"])
    model = schema.Model.GetRootAs(renamed, 0)
    for i in range(model.BuffersLength()):
        buffer = model.Buffers(i)
        if buffer.DataLength() > 0:
            assert buffer._tab.Vector(buffer._tab.Offset(4)) % litert_worker.ALIGNMENT == 0


# -- the converter's environment --------------------------------------------------------------------------------------


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, and no environment named."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(litert_environment.PYTHON_VARIABLE, raising=False)
    return tmp_path / "cache" / "nas" / "litert-torch-0.10.0"


def test_a_missing_converter_says_the_one_command(cache: Path, tmp_path: Path, capsys: Any) -> None:
    with pytest.raises(ConverterMissing, match=r"python -m search_spaces\.export\.converters --install") as error:
        export_tflite(small_network(), tmp_path / "net.tflite")
    assert str(cache) in str(error.value)
    assert command.main([]) == 1
    assert "--install" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "message"), [("absent", "is no program"), ("folder", "is no program"), ("text", "is no program")]
)
def test_a_name_that_is_no_python(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").write_text("not a program")
    monkeypatch.setenv(litert_environment.PYTHON_VARIABLE, str(tmp_path / name))
    with pytest.raises(ConverterMissing, match=f"NAS_LITERT_TORCH_PYTHON names .*{name}, which {message}"):
        converter_python()


def test_a_python_with_and_without_the_packages(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(litert_environment.PYTHON_VARIABLE, str(program(tmp_path / "bare", "exit 1")))
    with pytest.raises(ConverterMissing, match="lacks litert-torch"):
        converter_python()
    monkeypatch.setenv(litert_environment.PYTHON_VARIABLE, str(program(tmp_path / "broken", "").with_name("broken")))
    (tmp_path / "broken").write_text("#!/nonexistent/interpreter\n")
    with pytest.raises(ConverterMissing, match="does not run"):
        converter_python()
    # What the name holds is an argument, never a command line.
    python = program(tmp_path / "a b; touch owned", 'test "$1" = -I')
    monkeypatch.setenv(litert_environment.PYTHON_VARIABLE, str(python))
    assert converter_python() == python
    assert not list(tmp_path.glob("owned*"))


MAKES_ENVIRONMENTS = """
test "$1 $2" = "-m venv" || exit 9
mkdir -p "$3/bin"
cat > "$3/bin/python" <<'END'
#!/bin/sh
test "$2" = pip && { echo "Collecting $*"; exit %d; }
exit 0
END
chmod +x "$3/bin/python"
"""


def test_an_environment_is_made_once_and_whole(cache: Path, tmp_path: Path) -> None:
    maker, lines = program(tmp_path / "python", MAKES_ENVIRONMENTS % 0), []
    python = make_environment(lines.append, python=maker)
    assert python == cache / "bin" / "python" == converter_python()
    assert [p.name for p in cache.parent.iterdir()] == [cache.name]
    (line,) = [line for line in lines if "Collecting" in line]
    assert "litert-torch==0.10.0" in line
    assert str(litert_environment.CONSTRAINTS) in line
    assert make_environment(lines.append, python=tmp_path / "not used again") == python
    program(python, "exit 1")  # as after an upgrade of the system's Python
    assert make_environment(lines.append, python=maker) == python
    assert "made again" in " ".join(lines)


def test_a_failed_installation_leaves_nothing(cache: Path, tmp_path: Path) -> None:
    maker = program(tmp_path / "python", MAKES_ENVIRONMENTS % 1)
    with pytest.raises(ConversionError, match="-m pip install ended with 1: Collecting"):
        make_environment(lambda line: None, python=maker)
    assert not list(cache.parent.iterdir())
    with pytest.raises(ConverterMissing):
        converter_python()


def test_every_package_of_the_environment_is_pinned() -> None:
    lines = litert_environment.CONSTRAINTS.read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert len(pins) > 50
    for requirement in litert_environment.REQUIREMENTS:
        name, _, version = requirement.partition("==")
        assert pins[name] == version


# -- the real converter -----------------------------------------------------------------------------------------------


@pytest.fixture
def converter() -> Path:
    """The real converter's Python; skips where there is none."""
    try:
        return converter_python()
    except ConverterMissing as error:
        pytest.skip(str(error))


@pytest.fixture
def made_converter() -> Path:
    """The real converter's Python, made where there is none."""
    try:
        return converter_python()
    except ConverterMissing:
        return make_environment(print)


def litert_kinds(codes: list[str]) -> Counter[str]:
    return Counter(code for code in codes if code not in ("RESHAPE", "TRANSPOSE"))


def check_small(tmp_path: Path) -> None:
    graph = small_network()
    weights = weights_from_module(with_statistics(graph))
    samples = random_inputs(graph.input_shapes, 3, 8)
    file = export_tflite(graph, tmp_path / "net.tflite", weights=weights, int8=True, samples=samples, min_snr_db=20)
    ours = [o.code for o in tflite_program(graph, precision="int8", weights=weights).operators]
    assert litert_kinds(operators(file.path.read_bytes())) == litert_kinds(ours)
    assert file.made_by["litert-torch"] == "0.10.0"


def test_int8_by_the_real_converter(converter: Path, tmp_path: Path) -> None:
    check_small(tmp_path)


@pytest.mark.slow
def test_int8_by_a_converter_that_is_made_for_it(made_converter: Path, tmp_path: Path) -> None:
    check_small(tmp_path)


# Sizes that are no multiple of the input's are resized by another rule; see docs/conversion.md.
NOT_CONVERTED = ("nearest",)


@pytest.mark.slow
def test_every_operation_by_the_real_converter(made_converter: Path, tmp_path: Path) -> None:
    graph = every_operation(NOT_CONVERTED)
    file = export_tflite(graph, tmp_path / "net.tflite")
    assert [a.output for a in file.agreement] == [name for name, _ in graph.outputs]
    for name in NOT_CONVERTED:
        b = Builder()
        with pytest.raises(OutputsDiffer):
            export_tflite(b.build(OPERATIONS[name](b, b.input((6, 8, 10)))), tmp_path / "wrong.tflite")
    assert not (tmp_path / "wrong.tflite").exists()


@pytest.mark.slow
def test_an_int8_file_that_stays_in_float_is_refused(made_converter: Path, tmp_path: Path) -> None:
    b = Builder()
    graph = b.build(b.act(b.conv(b.input((3, 8, 8)), 4), "leaky_relu"))
    with pytest.raises(ConversionError, match=r"left .*LEAKY_RELU.* in float32"):
        export_tflite(graph, tmp_path / "net.tflite", int8=True, samples=random_inputs(graph.input_shapes, 0))
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_unusual_inputs_and_outputs_by_the_real_converter(made_converter: Path, tmp_path: Path) -> None:
    graph = several_inputs()
    file = export_tflite(graph, tmp_path / "net.tflite")
    assert [a.output for a in file.agreement] == [name for name, _ in graph.outputs]


def test_the_package_names_what_it_offers() -> None:
    assert all(hasattr(conversion, name) for name in conversion.__all__)
