"""The range of every activation of a program, from inputs that run through it in float32."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from search_spaces.export.errors import ModelFileError
from search_spaces.export.tflite.flatbuffer import pack
from search_spaces.export.tflite.program import TfliteProgram
from search_spaces.export.weights import Array
from search_spaces.graph.operations import Shape

Ranges = dict[int, tuple[float, float]]  # by tensor: lowest and highest value


def _program_inputs(program: TfliteProgram, shapes: Sequence[Shape], sample: Sequence[Array]) -> list[Array]:
    """One sample as the program's inputs: with a batch axis, images channels last."""
    if len(sample) != len(shapes):
        raise ModelFileError(f"calibration: a sample must hold {len(shapes)} input(s), not {len(sample)}")
    arrays = []
    for value, shape in zip(sample, shapes, strict=True):
        x = np.asarray(value, dtype=np.float32)
        if x.shape != shape:
            raise ModelFileError(f"calibration: an input must be {shape}, without a batch axis, not {x.shape}")
        x = x.transpose(1, 2, 0) if x.ndim == 3 else x
        arrays.append(np.ascontiguousarray(x[None]))
    return arrays


def measured_ranges(program: TfliteProgram, shapes: Sequence[Shape], samples: Sequence[Sequence[Array]]) -> Ranges:
    """Run ``samples`` (each the graph's inputs, channels first) through the float program with LiteRT.

    Raises ``ModelFileError`` where there are no samples, or one does not fit or makes a number that is not finite.
    """
    if not samples:
        raise ModelFileError("calibration: needs at least one sample")
    model = pack(program)  # first: it says which package is missing
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=model,
        num_threads=1,
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    activation_tensors = [i for i, t in enumerate(program.tensors) if t.data is None]
    ranges: Ranges = {}
    for sample in samples:
        for index, x in zip(program.inputs, _program_inputs(program, shapes, sample), strict=True):
            interpreter.set_tensor(index, x)
        interpreter.invoke()
        for i in activation_tensors:
            values = interpreter.get_tensor(i)
            low, high = float(values.min()), float(values.max())
            if not np.isfinite(low + high):
                name = program.tensors[i].name or f"tensor{i}"
                raise ModelFileError(f"calibration: {name} is not finite; check the weights and the samples")
            previous = ranges.get(i, (low, high))
            ranges[i] = (min(low, previous[0]), max(high, previous[1]))
    return ranges
