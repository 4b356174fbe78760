"""What an export gives back, and the comparison with PyTorch that every file passes before it is one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, log10
from pathlib import Path
from typing import NamedTuple

import numpy as np

from search_spaces.export.errors import ModelFileError
from search_spaces.export.weights import Array
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import Shape

FLOAT_TOLERANCE = 1e-4
"""Largest difference of a float32 output from PyTorch's, as a fraction of the output's largest magnitude.

A network that magnifies rounding may differ by ``ROUNDING_ERROR_FACTOR`` times what PyTorch's float32 is from its
float64, but by no more than ``MAX_TOLERANCE``.
"""

ROUNDING_ERROR_FACTOR = 4.0
MAX_TOLERANCE = 1e-2

MIN_SNR_DB = 6.0
"""Least signal-to-noise ratio of an int8 output: an error of half the signal's amplitude.

A misplaced axis or a lost bias is at 0 dB or below.
"""

MAX_COMPARED_SAMPLES = 8
"""Samples that run through the file and through PyTorch, at most."""

Outputs = Mapping[str, Array]  # by name, channels first, without a batch axis


class ConversionError(ModelFileError):
    """A network that cannot be converted, or a converter that failed; the message says what to do."""


class OutputsDiffer(ConversionError):
    """A converted file that does not compute what PyTorch computes. Nothing was written."""


class Agreement(NamedTuple):
    """How near one output is to PyTorch's, over all samples.

    ``largest_error`` is a fraction of the output's largest magnitude. ``snr_db`` is the power of PyTorch's output about
    its mean over the power of the difference, in decibels.
    """

    output: str
    largest_error: float
    snr_db: float


@dataclass(frozen=True)
class ExportedFile:
    """A file that passed the comparison. ``file_format`` is ``"onnx"`` or ``"tflite"``, ``made_by`` holds versions."""

    path: Path
    file_format: str
    precision: str
    agreement: tuple[Agreement, ...]
    made_by: Mapping[str, str]


def input_names(graph: Graph) -> list[str]:
    """``input``, or ``input0``, ``input1``, ... where there are several."""
    count = len(graph.input_shapes)
    return ["input"] if count == 1 else [f"input{i}" for i in range(count)]


def snr_db(expected: Array, actual: Array) -> float:
    """Signal-to-noise ratio in decibels; infinite where nothing differs."""
    signal = expected.astype(np.float64)
    noise = float(((actual.astype(np.float64) - signal) ** 2).sum())
    power = float(((signal - signal.mean()) ** 2).sum())
    if power <= 1e-12 * float((signal**2).sum()):  # a constant, or one number: all of it is signal
        power = float((signal**2).sum())
    if noise == 0:
        return inf
    return 10 * log10(power / noise) if power > 0 else -inf


def agreement(expected: Sequence[Outputs], actual: Sequence[Outputs], where: str) -> tuple[Agreement, ...]:
    """Compare outputs of the same samples. ``OutputsDiffer`` for what is missing, misshapen or not finite."""
    rows = []
    for name in expected[0]:
        references, values = [], []
        for reference, actual_outputs in zip(expected, actual, strict=True):
            value = actual_outputs.get(name)
            if value is None or value.shape != reference[name].shape:
                shape = "missing" if value is None else value.shape
                raise OutputsDiffer(f"{where}: output {name!r} must be {reference[name].shape}, it is {shape}")
            if not np.isfinite(value).all():
                raise OutputsDiffer(f"{where}: output {name!r} holds numbers that are not finite")
            references.append(reference[name].ravel())
            values.append(value.ravel())
        signal, received = np.concatenate(references), np.concatenate(values)
        largest = float(np.abs(signal).max(initial=0.0))
        largest_difference = float(np.abs(received.astype(np.float64) - signal).max(initial=0.0))
        fraction = largest_difference / largest if largest > 0 else (0.0 if largest_difference == 0 else inf)
        rows.append(Agreement(name, fraction, snr_db(signal, received)))
    return tuple(rows)


def check_float(rows: Sequence[Agreement], rounding: Sequence[Agreement], where: str) -> None:
    """Raise ``OutputsDiffer`` for an output beyond its tolerance; ``rounding`` is how PyTorch agrees with itself."""
    for row, own in zip(rows, rounding, strict=True):
        tolerance = max(FLOAT_TOLERANCE, min(ROUNDING_ERROR_FACTOR * own.largest_error, MAX_TOLERANCE))
        if row.largest_error > tolerance:
            raise OutputsDiffer(
                f"{where}: output {row.output!r} is {row.largest_error:.2g} of its largest magnitude from PyTorch's, "
                f"more than {tolerance:.2g}; nothing was written"
            )


def check_int8(rows: Sequence[Agreement], min_snr_db: float, where: str) -> None:
    """Raise ``OutputsDiffer`` for an output below ``min_snr_db``."""
    for row in rows:
        if row.snr_db < min_snr_db:
            raise OutputsDiffer(
                f"{where}: output {row.output!r} has a signal-to-noise ratio of {row.snr_db:.1f} dB to PyTorch's, "
                f"less than {min_snr_db:g}; give more samples, or train for 8 bits; nothing was written"
            )


def check_finite(outputs: Sequence[Outputs], where: str) -> None:
    """Raise ``ConversionError`` where PyTorch's own outputs are not finite: then there is nothing to compare with."""
    for name in outputs[0]:
        if not all(np.isfinite(sample[name]).all() for sample in outputs):
            raise ConversionError(f"{where}: PyTorch's output {name!r} is not finite; check the weights and samples")


def check_samples(samples: Sequence[Sequence[Array]], shapes: Sequence[Shape], where: str) -> list[tuple[Array, ...]]:
    """Samples as float32 arrays of the graph's input shapes. Raises ``ConversionError`` for any that is not."""
    checked = []
    for number, sample in enumerate(samples):
        if len(sample) != len(shapes):
            raise ConversionError(f"{where}: sample {number} must hold {len(shapes)} input(s), not {len(sample)}")
        arrays = []
        for values, shape in zip(sample, shapes, strict=True):
            try:
                x = np.asarray(values, dtype=np.float32)
            except (TypeError, ValueError):
                raise ConversionError(f"{where}: sample {number} must hold arrays of numbers") from None
            if x.shape != shape:
                raise ConversionError(
                    f"{where}: sample {number} must be {shape}, channels first and without a batch axis, not {x.shape}"
                )
            if not np.isfinite(x).all():
                raise ConversionError(f"{where}: sample {number} holds numbers that are not finite")
            arrays.append(x)
        checked.append(tuple(arrays))
    return checked


def check_path(path: Path, where: str) -> None:
    """Raise ``ConversionError`` where no file can be written to ``path``: before any work is done."""
    if path.is_dir():
        raise ConversionError(f"{where}: {path} is a folder; name a file")
    if not path.parent.is_dir():
        raise ConversionError(f"{where}: the folder {path.parent} does not exist; make it first")


def write_file(path: Path, data: bytes, where: str) -> None:
    """Write the whole file or nothing: a reader never sees half of one."""
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except OSError as error:
        raise ConversionError(f"{where}: {path} cannot be written: {error.strerror}") from None
