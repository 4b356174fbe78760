"""Writing device files: a file is left only where the model that it describes is the one that was to be written."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from hardware_models.cost import Cost, HardwareModel
from hardware_models.device_file.codec import KnownDevice
from hardware_models.device_file.document import leaves, plain, toml_text, value_text
from hardware_models.device_file.header import DeviceHeader, with_header
from hardware_models.device_file.kinds import model_document, no_known_device, read_model
from hardware_models.device_file.toml_table import HardwareError, read_device_file
from search_spaces.catalog import load_network
from search_spaces.graph.graph import Graph

DEVICE_FOLDER = Path(__file__).parents[1] / "devices"
"""The device files that are shipped, in folders by maker."""
_PROBES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("mobilenetv3_small", {"image_size": 64}),
    ("squeezenet1_1", {"image_size": 64}),
    ("resnet18", {"image_size": 64}),
)
"""Networks that a written model must predict as before: squeeze-excite, concatenations, and too large for a chip."""


class DeviceFileMismatch(HardwareError):
    """A device file that would not say what its model says. It was not written."""


def shipped_file(devices: Path, name: str) -> Path:
    """Where the file of a device is below the folder of devices; a new one is put there itself, to be filed by hand."""
    return next(devices.glob(f"*/{name}.toml"), devices / f"{name}.toml")


def device_text(header: DeviceHeader, model: HardwareModel) -> str:
    """The text of a model's device file. Numbers are exact: what rounding there is, a fit does beforehand."""
    return toml_text(with_header(model_document(model), header), header.remarks)


def write_device(
    path: Path, header: DeviceHeader, model: HardwareModel, known_device: KnownDevice = no_known_device
) -> None:
    """Write a model's device file, which must read back as the same model; ``known_device`` as for its reader.

    Raises ``DeviceFileMismatch``, and ``HardwareError`` where the file cannot be written; then the path is as before.
    """
    _replace_checked(path, device_text(header, model), model, known_device)


def update_device(path: Path, model: HardwareModel, known_device: KnownDevice = no_known_device) -> None:
    """Put a model's numbers into the device file that it came from; comments and everything else stay.

    Raises as ``write_device``, and ``HardwareError`` for a number that the file has no line for.
    """
    text = read_device_file(path)
    before = read_model(text, model.name, str(path), known_device)
    new_text = replace_values(text, plain(model_document(before)), plain(model_document(model)))
    _replace_checked(path, new_text, model, known_device)


def replace_values(text: str, before: dict[str, Any], after: dict[str, Any]) -> str:
    """A device file's text with the values of ``after`` where they are not those of ``before``.

    Comments keep their column where the new value leaves room. Raises ``HardwareError``.
    """
    import tomlkit

    file, known = tomlkit.parse(text), dict(leaves(before))
    missing = []
    for path, value in leaves(after):
        if path in known and known[path] == value:
            continue
        table: Any = file
        for key in path[:-1]:
            table = table.get(key, {})
        if path[-1] not in table:
            missing.append(".".join(path))
            continue
        old, new = table.item(path[-1]), tomlkit.value(value_text(value))
        if old.trivia.comment:
            width = len(old.as_string()) + len(old.trivia.comment_ws)
            new.comment(old.trivia.comment)
            new.trivia.comment_ws = " " * max(1, width - len(new.as_string()))
        table[path[-1]] = new
    if missing:
        raise HardwareError(f"the device file has no line for {', '.join(missing)}")
    return tomlkit.dumps(file)


def _replace_checked(path: Path, text: str, model: HardwareModel, known_device: KnownDevice) -> None:
    target = Path(os.path.realpath(path))
    beside = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with beside.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
        _check_same(read_model(read_device_file(beside), model.name, str(path), known_device), model, path)
        os.replace(beside, target)
    except OSError as error:
        raise HardwareError(f"cannot write {str(path)!r}: {error.strerror}") from None
    finally:
        beside.unlink(missing_ok=True)


def _check_same(found: HardwareModel, model: HardwareModel, path: Path) -> None:
    written, expected = (dict(leaves(plain(model_document(each)))) for each in (found, model))
    for key in (*expected, *(key for key in written if key not in expected)):
        if written.get(key) != expected.get(key):
            raise DeviceFileMismatch(
                f"{path}: not written: {'.'.join(key)} reads back as {written.get(key)!r}, not {expected.get(key)!r}"
            )
    for name, graph in _probe_graphs().items():
        got, wanted = found.estimate(graph), model.estimate(graph)
        if _figures(got) != _figures(wanted):
            raise DeviceFileMismatch(f"{path}: not written: it reads back as {got} for {name}, not {wanted}")


def _figures(cost: Cost) -> tuple[Any, ...]:
    return cost, cost.peak_memory_kib


@lru_cache(maxsize=1)
def _probe_graphs() -> dict[str, Graph]:
    return {name: load_network(name, **options) for name, options in _PROBES}
