"""Keys of things whose structure cannot be read, by running them on fixed numbers.

Modules, callables, learning programs and optimisers are run at a *generic point*, where nothing is 0, 1 or equal by
chance, and what comes out is rounded and digested. Such keys begin with ``probe-1:``, are probabilistic, and are never
to be mixed with the exact keys of graphs. Nothing here is measured on data and nothing is trained.
"""

from __future__ import annotations

import copy
import ctypes
import inspect
import math
import random
import threading
import warnings
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from functools import lru_cache
from hashlib import blake2b
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode

Words = NDArray[numpy.uint64]
Reals = NDArray[numpy.float64]
State = MutableMapping[str, Any]

LABEL = "probe-1:"
DIGITS = 1e6  # cells of a grid for each factor e: six significant digits
TOLERANCE = 1e-7  # of two raw values of one key, relative to the larger
NORM_EPS = 1e-12  # in place of a batch norm's own; smaller would turn rounding noise of a constant into a signal
INFLUENCE = 1e-8  # gradients below this part of the largest are noise: the layer is without influence
SEED_CELLS = 512  # cells of a normalised input's projection, coarse: another cell would be another weight
SMALL = 16  # results of callables up to this many elements are read whole


class ProbeError(Exception):
    """A thing that cannot be probed: it cannot be copied, fails, takes too long, or is not the same twice."""


class _TimeUp(BaseException):
    """Thrown into the probed code; not an ``Exception``, which that code might catch."""


@dataclass(frozen=True, eq=False)
class ProbeKey:
    """What a run gave. ``text`` and ``alternate`` are digests of ``values`` on two grids offset by half a cell.

    Values that differ by rounding noise alone may straddle a border of one grid, not of both: look a key up under
    either text and confirm with ``same``. Keys have no ``==``, for they are equal within a tolerance only.
    """

    text: str
    alternate: str
    values: tuple[float, ...]


def same(x: ProbeKey, y: ProbeKey) -> bool:
    """Whether two keys are equal: on either grid, and in the values behind it."""
    return (x.text == y.text or x.alternate == y.alternate) and _close(x.values, y.values)


def _close(x: Sequence[float], y: Sequence[float]) -> bool:
    floor = 1e-9 * max(map(abs, (*x, *y)), default=0.0)
    return len(x) == len(y) and all(
        abs(a - b) <= max(TOLERANCE * max(abs(a), abs(b)), floor) for a, b in zip(x, y, strict=True)
    )


def _digest(*parts: object) -> bytes:
    return blake2b(repr(parts).encode(), digest_size=16).digest()


def _cells(values: Sequence[float], offset: float, digits: float = DIGITS) -> NDArray[numpy.int64]:
    """Sign and rounded logarithm: cells of one relative width, without borders at powers of ten. ``(2, n)``."""
    array = numpy.asarray(values, dtype=numpy.float64)
    sizes = numpy.abs(array)
    logs = numpy.log(numpy.where(sizes > 0, sizes, 1.0))
    return numpy.stack([numpy.sign(array), numpy.floor(logs * digits + offset)]).astype("<i8")


def _key(kind: str, structure: object, values: Sequence[float]) -> ProbeKey:
    def text(grid: str, offset: float) -> str:
        return LABEL + _digest(kind, structure, grid, _cells(values, offset).tobytes()).hex()

    return ProbeKey(text("a", 0.0), text("b", 0.5), tuple(values))


# -- pseudo-random numbers, the same on every machine ----------------------------------------------------------------

_STEP, _MIX_1, _MIX_2 = (
    numpy.array([w], dtype=numpy.uint64) for w in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)
_ODD = numpy.concatenate([_MIX_1, _MIX_2])
_S27, _S30, _S31 = (numpy.array([w], dtype=numpy.uint64) for w in (27, 30, 31))


def _mix(words: Words) -> Words:
    """SplitMix64's finaliser (Steele et al., OOPSLA 2014): every bit in moves every bit out."""
    words = (words ^ (words >> _S30)) * _MIX_1
    words = (words ^ (words >> _S27)) * _MIX_2
    return words ^ (words >> _S31)


@lru_cache(maxsize=4096)
def _steps(count: int) -> Words:
    return numpy.arange(1, count + 1, dtype=numpy.uint64) * _STEP


def _draw(seeds: Words, count: int) -> Reals:
    """Two independent numbers in [0, 1) for each seed and place, ``(len(seeds), count, 2)``."""
    words = _mix(seeds[:, None] + _steps(count)).astype("<u8", copy=False)
    return words.view("<u4").reshape(len(seeds), count, 2) * (1 / 2**32)


@lru_cache(maxsize=256)
def _uniform(name: str, count: int) -> Reals:
    """Fixed numbers in (-1, 1) that depend on ``name`` alone."""
    numbers = _draw(_seed(_digest(name)), count)[0, :, 0] * 2 - 1
    numbers.flags.writeable = False
    return numbers


@lru_cache(maxsize=256)
def _directions(count: int) -> Reals:
    """Two directions to project onto, ``(2, count)``, on which rows of unit variance spread over ``SEED_CELLS``."""
    return _uniform("directions", 2 * count).reshape(2, count) * math.sqrt(3 / max(count, 1)) * SEED_CELLS


def _seed(digest: bytes) -> Words:
    return numpy.frombuffer(digest[:8], dtype="<u8").astype(numpy.uint64)


# -- surroundings of a run -------------------------------------------------------------------------------------------


def _reset_randomness(seed: int) -> None:
    random.seed(seed)
    numpy.random.seed(seed)
    torch.default_generator.manual_seed(seed)  # torch.manual_seed would touch accelerators


@contextmanager
def _surroundings(seconds: float, what: str) -> Iterator[None]:
    """Float64 by default, gradients on, silence; and afterwards everything as before, random states included."""
    states = random.getstate(), numpy.random.get_state(), torch.default_generator.get_state(), torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64)
        with (
            warnings.catch_warnings(),  # a warning must not become an exception, and so a key, under python -W error
            numpy.errstate(all="ignore"),
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.autocast("cpu", enabled=False),
            _time_limit(seconds, what),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        random.setstate(states[0])
        numpy.random.set_state(states[1])
        torch.default_generator.set_state(states[2])
        torch.set_default_dtype(states[3])


@contextmanager
def _time_limit(seconds: float, what: str) -> Iterator[None]:
    """Stops Python code of this thread after ``seconds``; a single long call into C is stopped when it returns."""
    throw = ctypes.pythonapi.PyThreadState_SetAsyncExc
    thread, lock = ctypes.c_ulong(threading.get_ident()), threading.Lock()
    done = fired = False

    def stop() -> None:
        nonlocal fired
        with lock:
            if not done:
                fired = True
                throw(thread, ctypes.py_object(_TimeUp))

    timer = threading.Timer(seconds, stop)
    timer.daemon = True
    timer.start()
    try:
        yield
    except _TimeUp:
        pass
    finally:
        with lock:
            done = True
        timer.cancel()
        if fired:
            throw(thread, None)  # one that was not delivered yet
    if fired:
        raise ProbeError(f"{what} took more than {seconds:g} s; give it smaller inputs or a larger `seconds`")


def _named(thing: object) -> str:
    return getattr(thing, "__qualname__", None) or type(thing).__qualname__


# -- reading results -------------------------------------------------------------------------------------------------


def _leaves(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    """What containers hold, named by key or position; keys in sorted order, for dictionaries have no order here."""
    if isinstance(value, Mapping):
        for key in sorted(value, key=repr):
            yield from _leaves(value[key], f"{path}/{key!r}")
    elif isinstance(value, list | tuple):
        for place, part in enumerate(value):
            yield from _leaves(part, f"{path}/{place}")
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from _leaves(getattr(value, field.name), f"{path}/{field.name!r}")
    else:
        yield path, value


def _array(value: object, what: str) -> NDArray[Any]:
    if isinstance(value, Tensor):
        value = value.detach().cpu().resolve_conj().resolve_neg()
        value = value.double() if value.dtype == torch.bfloat16 else value
        return numpy.asarray(value.numpy())
    if isinstance(value, bool | int | float | complex | numpy.ndarray | numpy.generic):
        array = numpy.asarray(value)
        if array.dtype.kind in "biufc":
            return array
    raise ProbeError(f"{what} returned a {type(value).__name__}, which a probe cannot read; return numbers or arrays")


def _not_finite(array: Reals) -> bytes:
    """Where an array holds NaN, inf and -inf; empty where it holds none."""
    if numpy.isfinite(array).all():
        return b""
    return _digest((numpy.isnan(array) + 2 * numpy.isposinf(array) + 3 * numpy.isneginf(array)).tobytes())


def _read(value: object, what: str) -> tuple[object, list[float]]:
    """Structure and numbers of a result: small arrays whole and in order, larger ones as two random projections."""
    structure: list[object] = []
    values: list[float] = []
    for path, leaf in _leaves(value):
        if leaf is None or isinstance(leaf, str):
            structure.append((path, leaf))
            continue
        array = _array(leaf, what)
        if array.dtype.kind == "c":
            array = numpy.stack([array.real, array.imag], -1)
        kind = "truth" if array.dtype.kind == "b" else "number"
        flat = array.astype(numpy.float64).ravel()
        structure.append((path, kind, array.shape, _not_finite(flat)))
        flat = numpy.where(numpy.isfinite(flat), flat, 0.0)
        floor = 1e-13 * numpy.abs(flat).max(initial=0.0)
        if flat.size > SMALL:
            scale = numpy.abs(flat).max(initial=0.0) or 1.0
            weights = _uniform("result", flat.size)
            flat = numpy.array([weights @ (flat / scale), weights**2 @ (flat / scale)]) * scale
        values += [float(v) if abs(v) > floor else 0.0 for v in flat]
    return tuple(structure), values


# -- modules ---------------------------------------------------------------------------------------------------------

_ATOMIC = frozenset((int, float, bool, str, type(None), torch.dtype, torch.device))
# What may be asked of a parameter without reading it.
# fmt: off
_UNREAD = frozenset((
    "shape", "dtype", "device", "requires_grad", "is_leaf", "ndim", "layout", "grad", "grad_fn", "names", "size",
    "dim", "numel", "nelement", "stride", "type", "is_contiguous", "is_floating_point", "is_complex", "is_cuda",
    "is_sparse", "is_quantized", "is_meta", "is_nested", "is_same_size", "element_size", "storage_offset",
    "ndimension", "get_device", "__len__", "__hash__",
))
# fmt: on


def _plain(kind: type) -> bool:
    """Whether copying a module of this type is copying its ``__dict__``."""
    own = ("__deepcopy__", "__reduce_ex__", "__reduce__", "__getstate__")
    return not any(name in vars(base) for base in kind.__mro__ if base not in (nn.Module, object) for name in own)


def _copy_tensor(tensor: Tensor) -> Tensor:
    """A float64 twin on the CPU: of a trained parameter the shape alone, of anything else the values."""
    if is_lazy(tensor):
        raise ProbeError("the module has lazy parameters without a shape; run it once before probing it")
    if isinstance(tensor, nn.Parameter) and tensor.requires_grad:
        if tensor.is_complex():
            raise ProbeError("the module has complex parameters, which a probe does not fill")
        return nn.Parameter(torch.zeros(tensor.shape, dtype=torch.float64, device="cpu"))
    if tensor.is_meta:
        raise ProbeError("the module has a buffer or constant on the meta device, which has no values to compute with")
    twin = tensor.detach().to("cpu", torch.float64 if tensor.is_floating_point() else tensor.dtype, copy=True)
    return nn.Parameter(twin, requires_grad=False) if isinstance(tensor, nn.Parameter) else twin


def _copy_module(module: nn.Module) -> tuple[nn.Module, list[Tensor]]:
    """A deep copy in float64 and evaluation mode, and its parameters; many times faster than ``copy.deepcopy``."""
    memo: dict[int, Any] = {}

    def twin(value: Any) -> Any:
        kind = type(value)
        if kind in _ATOMIC or (kind is tuple and all(type(part) in _ATOMIC for part in value)):
            return value
        if id(value) in memo:
            return memo[id(value)]
        if (kind is OrderedDict or kind is set) and not value:  # hooks
            return kind()
        if kind is dict:  # parameters, buffers and children
            copied: dict[Any, Any] = {}
            memo[id(value)] = copied
            for key in value:
                copied[key] = twin(value[key])
            return copied
        if isinstance(value, Tensor):
            if value.grad_fn is not None:
                raise ProbeError("the module keeps a tensor that was computed with gradients, which cannot be copied")
            memo[id(value)] = result = _copy_tensor(value)
            return result
        return copy.deepcopy(value, memo)

    parts = list(module.modules())
    plain = {kind: _plain(kind) for kind in {type(part) for part in parts}}
    parameters: dict[int, Tensor] = {}
    try:
        for part in parts:
            for parameter in part._parameters.values():
                if parameter is not None and id(parameter) not in parameters:
                    parameters[id(parameter)] = memo[id(parameter)] = _copy_tensor(parameter)
            if plain[type(part)]:
                memo[id(part)] = type(part).__new__(type(part))
        for part in reversed(parts):  # children first: what copies itself may look at them
            if plain[type(part)]:
                own = {name: value for name, value in vars(part).items() if name != "_compiled_call_impl"}
                state = {name: v if type(v) in _ATOMIC else twin(v) for name, v in own.items()}
                memo[id(part)].__setstate__(state)
            else:
                twin(part)
    except ProbeError:
        raise
    except Exception as error:
        raise ProbeError(f"{_named(type(module))} cannot be copied: {type(error).__name__}: {error}") from error
    for part in parts:
        memo[id(part)].__dict__["training"] = False
    return memo[id(module)], list(parameters.values())


class _Instance(NamedTuple):
    """Parameters that one operation read first. ``tests`` are what their gradients are projected onto."""

    digest: bytes
    place: int
    tests: list[tuple[int, Reals]]


class _Channels(NamedTuple):
    """How an operation treats the channels of what it reads.

    ``dense``: the weight's ``weight_axis`` belongs to the input's ``axis`` and any order of channels will do; else each
    channel has parameters of its own.
    """

    tensor: Tensor
    axis: int
    dense: bool
    weight: Tensor | None
    weight_axis: int = 1
    centred: bool = False
    settings: object = None


_CONV = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_CONV_TRANSPOSE = ("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation")
_BATCH_NORM = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
_INSTANCE_NORM = ("input", "running_mean", "running_var", "weight", "bias", "use_input_stats", "momentum", "eps")
_ARGUMENTS: dict[Any, tuple[str, ...]] = {
    **dict.fromkeys((F.conv1d, F.conv2d, F.conv3d), _CONV),
    **dict.fromkeys((F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d), _CONV_TRANSPOSE),
    F.linear: ("input", "weight", "bias"),
    F.batch_norm: _BATCH_NORM,
    F.instance_norm: _INSTANCE_NORM,
}
_DROPOUTS = frozenset(
    (F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout, torch.dropout)
)


def _channels(function: Any, named: Mapping[str, Any]) -> _Channels | None:
    x, weight = named["input"], named.get("weight")
    if function in (F.batch_norm, F.instance_norm):
        settings = (named.get("momentum", 0.1), named.get("eps", 1e-5))
        return _Channels(x, 1, False, None, centred=True, settings=settings) if x.ndim > 1 else None
    if not isinstance(weight, Tensor):
        return None
    if function is F.linear:
        return _Channels(x, x.ndim - 1, True, weight) if weight.ndim == 2 else None
    axis, groups = x.ndim - weight.ndim + 1, named.get("groups", 1)
    if groups == 1:
        return _Channels(x, axis, True, weight, weight_axis=1 if _ARGUMENTS[function] is _CONV else 0)
    return _Channels(x, axis, False, None) if groups == x.shape[axis] else None


def _contents(rows: Reals, centred: bool) -> Words:
    """Rounded projections of each row in a word, not mixed. One number scales all rows; ``centred`` shifts each.

    ``rows`` is ``(channels, positions)``.
    """
    if not rows.size:
        return numpy.zeros(len(rows), numpy.uint64)
    flat = rows.ravel()
    square = float(numpy.einsum("i,i", flat, flat))  # not BLAS, whose threads cost more than they bring here
    codes = None
    if not math.isfinite(square):
        finite = numpy.isfinite(rows)
        codes = numpy.isnan(rows) + 2 * numpy.isposinf(rows) + 3 * numpy.isneginf(rows)
        rows = numpy.where(finite, rows, 0.0)
        rows = rows / (numpy.abs(rows).max() or 1.0)
        square = float((rows * rows).sum())
    if centred:
        rows = rows - (rows.sum(1) / rows.shape[1])[:, None]
        flat = rows.ravel()
        left = float(numpy.einsum("i,i", flat, flat))
        square = left if left > 1e-18 * square else 0.0  # what is left of a constant is noise
    if square > 0:
        projected = numpy.einsum("cp,dp->cd", rows, _directions(rows.shape[1]))
        cells = numpy.rint(projected / math.sqrt(square / rows.size)).astype(numpy.int64)
    else:
        cells = numpy.zeros((len(rows), 2), numpy.int64)
    if codes is not None:
        cells[:, 0] += numpy.rint(codes @ _directions(rows.shape[1])[0] * 1e3).astype(numpy.int64) << 20
    words: Words = cells.view(numpy.uint64) * _ODD
    return words[:, 0] + words[:, 1]


def _tensors(arguments: Any) -> Iterator[Tensor]:
    for argument in arguments:
        if isinstance(argument, Tensor):
            yield argument
        elif isinstance(argument, list | tuple):
            yield from _tensors(argument)
        elif isinstance(argument, dict):
            yield from _tensors(argument.values())


def _of_tensor(tensor: Tensor) -> bytes:
    array = _array(tensor, "the module")
    parts = numpy.stack([array.real, array.imag]) if array.dtype.kind == "c" else array
    return _digest(array.shape, _contents(parts.astype(numpy.float64, copy=False).reshape(1, -1), False).tobytes())


class _Watch(TorchFunctionMode):
    """Fills parameters when an operation first reads them, from what else that operation reads.

    So neither names nor the order of creation or of execution matter. Batch norms go by the batch; dropout is left to
    the evaluation mode, but its rate and place are noted. ``marked`` is the place of an instance to fill otherwise.
    """

    def __init__(self, parameters: Sequence[Tensor], marked: int | None) -> None:
        super().__init__()
        self.waiting = {id(p): place for place, p in enumerate(parameters) if p.requires_grad}
        self.marked = marked
        self.instances: list[_Instance] = []
        self.dropouts: list[bytes] = []

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        order = _ARGUMENTS.get(func)
        if order:
            named = {**dict(zip(order, args, strict=False)), **kwargs}
            if self.waiting:
                candidates = (named.get("weight"), named.get("bias"))
                new = [p for p in candidates if p is not None and id(p) in self.waiting]
                if new:
                    self._fill(new, _channels(func, named), [named["input"]])
            if order is _BATCH_NORM and (x := named["input"]).numel() > x.shape[1]:
                return torch.batch_norm(
                    x, named.get("weight"), named.get("bias"), None, None, True, 0.0, NORM_EPS, False
                )
            if order in (_BATCH_NORM, _INSTANCE_NORM):
                return func(named["input"], None, None, named.get("weight"), named.get("bias"), True, 0.0, NORM_EPS)
            if func is F.conv2d and named.get("groups", 1) > 1:
                return _depthwise(named)
            return func(*args, **kwargs)
        if self.waiting:
            self._first_reads(func, args, kwargs)
        if func in _DROPOUTS:
            rate = args[1] if len(args) > 1 else kwargs.get("p", 0.5)
            if rate > 0:
                self.dropouts.append(_digest(float(rate), self._of_channels(args[0] if args else kwargs["input"])))
        return func(*args, **kwargs)

    def _of_channels(self, tensor: Tensor) -> bytes:
        return bytes(numpy.sort(_contents(_rows(tensor, min(1, tensor.ndim - 1)), False)).tobytes())

    def _first_reads(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        name = getattr(func, "__name__", "")
        if name == "__get__":
            name = getattr(func.__self__, "__name__", "")
        if name in _UNREAD:
            return
        tensors = list(_tensors((*args, *kwargs.values())))
        new = list({id(t): t for t in tensors if id(t) in self.waiting}.values())
        if new:
            self._fill(new, None, [t for t in tensors if id(t) not in self.waiting])

    def _fill(self, new: list[Tensor], channels: _Channels | None, others: list[Tensor]) -> None:
        places = [self.waiting.pop(id(p)) for p in new]
        shapes = tuple(tuple(p.shape) for p in new)
        mark = min(places) == self.marked
        if channels is None:
            digest = _digest(mark, shapes, sorted(_of_tensor(t) for t in others))
            drawn = [_draw(_seed(_digest(digest, number)), p.numel())[0] for number, p in enumerate(new)]
        else:
            base = _base(mark, shapes, channels.dense, channels.settings)
            seeds = _mix(_contents(_rows(channels.tensor, channels.axis), channels.centred) + base)
            digest = _digest(numpy.sort(seeds).tobytes())
            drawn = _draw_dense(new, channels, seeds, digest) if channels.dense else _draw_each(new, seeds)
        tests = []
        for parameter, place, numbers in zip(new, places, drawn, strict=True):
            numbers = numbers.reshape(*parameter.shape, 2)
            numpy.copyto(parameter.detach().numpy(), _spread(numbers[..., 0]))
            tests.append((place, numbers[..., 1].ravel() * 2 - 1))
        self.instances.append(_Instance(digest, min(places), tests))


@lru_cache(maxsize=4096)
def _base(*parts: object) -> Words:
    return _seed(_digest(*parts))


def _rows(tensor: Tensor, axis: int) -> Reals:
    """A row for each index of ``axis``."""
    array = tensor.detach().numpy()
    return array.swapaxes(0, axis).reshape(array.shape[axis], -1)


def _draw_dense(new: list[Tensor], channels: _Channels, seeds: Words, digest: bytes) -> list[Reals]:
    """Each input channel brings its slice of the weight along, equal channels equal slices; the rest belongs to all."""
    drawn = []
    for number, parameter in enumerate(new):
        if parameter is channels.weight:
            axis, shape = channels.weight_axis, list(parameter.shape)
            width = shape.pop(axis)
            numbers = _draw(seeds, parameter.numel() // width).reshape(width, *shape, 2)
            drawn.append(numbers.swapaxes(0, 1) if axis else numbers)
        else:
            drawn.append(_draw(_seed(_digest(digest, number)), parameter.numel())[0])
    return drawn


def _draw_each(new: list[Tensor], seeds: Words) -> list[Reals]:
    """Each channel brings its own parameters along; those of equal channels differ by how many came before."""
    listed = seeds.tolist()
    if len(set(listed)) < len(listed):
        seen: Counter[int] = Counter()
        earlier = []
        for seed in listed:
            earlier.append(seen[seed])
            seen[seed] += 1
        seeds = _mix(seeds + numpy.array(earlier, numpy.uint64) * _MIX_1)
    ends = list(accumulate((p.numel() // len(seeds) for p in new), initial=0))
    numbers = _draw(seeds, ends[-1])
    return [numbers[:, start:end] for start, end in pairwise(ends)]


def _spread(drawn: Reals) -> Reals:
    """Parameters from numbers in [0, 1): weights as He et al. scale them; vectors in 0.5 to 8, a quarter negative.

    Vectors are spread so that activations are met above the 6 at which some of them bend, and lean to the positive so
    that a constant seldom dies in a ReLU with all of its channels.
    """
    if drawn.ndim > 1:
        return (drawn * 2 - 1) * math.sqrt(6 * drawn.shape[0] / max(drawn.size, 1))
    negative = drawn < 0.25
    sizes = 0.5 * numpy.exp2(numpy.where(negative, 16 * drawn, (drawn - 0.25) * (16 / 3)))
    return numpy.where(negative, -sizes, sizes)


def _depthwise(named: Mapping[str, Any]) -> Tensor:
    """``F.conv2d`` with one group a channel, which torch computes a channel at a time in float64: slow."""
    x, weight, bias = named["input"], named["weight"], named.get("bias")
    padding = named.get("padding", 0)
    fits = x.ndim == 4 and weight.shape[:2] == (x.shape[1], 1) and not isinstance(padding, str)
    if not fits:
        result: Tensor = F.conv2d(**named)
        return result
    kernel = tuple(weight.shape[2:])
    stride, dilation = named.get("stride", 1), named.get("dilation", 1)
    pairs = [v if isinstance(v, list | tuple) else (v,) for v in (padding, stride, dilation)]
    (p0, p1), (s0, s1), (d0, d1) = ((v[0], v[-1]) for v in pairs)
    patches = F.unfold(x, kernel, (d0, d1), (p0, p1), (s0, s1))
    size = (x.shape[2] + 2 * p0 - d0 * (kernel[0] - 1) - 1) // s0 + 1
    products = patches.view(x.shape[0], x.shape[1], kernel[0] * kernel[1], -1) * weight.view(1, x.shape[1], -1, 1)
    made: Tensor = products.sum(2).view(x.shape[0], x.shape[1], size, -1)
    return made if bias is None else made + bias.view(1, -1, 1, 1)


class _Trace(NamedTuple):
    """``read`` are the instances on the way to an output, with and without influence."""

    structure: object
    values: list[float]
    read: list[_Instance]


def _run(module: nn.Module, inputs: Sequence[Tensor], marked: int | None) -> _Trace:
    copied, parameters = _copy_module(module)
    what = _named(type(module))
    watch = _Watch(parameters, marked)
    _reset_randomness(0)
    try:
        with watch:
            made = copied(*(x.clone() for x in inputs))
    except ProbeError:
        raise
    except Exception as error:
        shapes = [tuple(x.shape) for x in inputs]
        raise ProbeError(f"{what} failed on inputs of shapes {shapes}: {type(error).__name__}: {error}") from error
    structure: list[object] = []
    values: list[float] = []
    loss: Tensor | None = None
    for path, leaf in _leaves(made):
        if not isinstance(leaf, Tensor) or not leaf.is_floating_point():
            structure.append((path, _read(leaf, what)[0]))
            values += _read(leaf, what)[1]
            continue
        output = leaf.double()
        array = output.detach().numpy().ravel()
        weights = _uniform(path, array.size)
        pattern = _not_finite(array)
        structure.append((path, tuple(leaf.shape), pattern))
        if pattern:
            output = torch.where(torch.isfinite(output), output, 0.0)
            array = numpy.where(numpy.isfinite(array), array, 0.0)
        terms = weights * array
        floor = 1e-12 * float(numpy.abs(terms).sum())
        values += [v if abs(v) > floor else 0.0 for v in (float(terms.sum()), float((terms * weights).sum()))]
        if output.requires_grad:
            part = torch.dot(output.reshape(-1), torch.tensor(weights))
            loss = part if loss is None else loss + part
    items: list[tuple[bytes, bytes, float, float, _Instance]] = []
    if loss is not None:
        trained = [p for p in parameters if p.requires_grad]
        places = [place for place, p in enumerate(parameters) if p.requires_grad]
        try:
            found = torch.autograd.grad(loss, trained, allow_unused=True)
        except RuntimeError as error:
            raise ProbeError(f"the gradient of {what} cannot be computed: {error}") from error
        gradients = {
            place: (g.to_dense() if g.is_sparse else g).numpy().ravel()
            for place, g in zip(places, found, strict=True)
            if g is not None
        }
        if any(id(parameters[place]) in watch.waiting for place in gradients):
            raise ProbeError(
                f"{what} reads parameters where torch functions cannot be watched, as compiled and scripted modules do"
            )
        items = [item for instance in watch.instances if (item := _project(instance, gradients))]
    read = [item[4] for item in items]
    top = max((max(abs(a), abs(b)) for _, _, a, b, _ in items), default=0.0)
    items = [item for item in items if item[1] or max(abs(item[2]), abs(item[3])) > INFLUENCE * top]
    items.sort(key=lambda item: item[:4])
    values += [v for item in items for v in item[2:4]]
    structure += [[item[:2] for item in items], sorted(watch.dropouts)]
    return _Trace(structure, values, read)


def _project(
    instance: _Instance, gradients: Mapping[int, Reals]
) -> tuple[bytes, bytes, float, float, _Instance] | None:
    """An instance's digest, where its gradient is not finite, and two projections of it; None if no output reads it.

    All parameters go into one sum: a gradient that is zero but for noise, as of a bias before a norm, drowns there.
    """
    if not any(place in gradients for place, _ in instance.tests):
        return None
    first = second = 0.0
    patterns = []
    for place, test in instance.tests:
        gradient = gradients.get(place)
        if gradient is None:
            continue
        total = float(numpy.einsum("i,i", test, gradient))
        if not math.isfinite(total):
            patterns.append(_not_finite(gradient))
            gradient = numpy.where(numpy.isfinite(gradient), gradient, 0.0)
            total = float(numpy.einsum("i,i", test, gradient))
        first += total
        second += float(numpy.einsum("i,i", test * test, gradient))
    return instance.digest, b"".join(patterns), first, second, instance


def _point(place: int, shape: tuple[int, ...]) -> Tensor:
    """A batch of inputs whose examples are of different sizes: small ones saturate nothing, large ones meet bounds."""
    numbers = torch.tensor(_uniform(f"input {place}", math.prod(shape))).reshape(shape)
    sizes = torch.tensor([1.0, 10.0, 0.5, 4.0]).repeat(1 + shape[0] // 4)[: shape[0]]
    return numbers * sizes.reshape(-1, *[1] * (len(shape) - 1))


def probe_module(
    module: nn.Module,
    inputs: Sequence[tuple[int, ...] | Tensor],
    *,
    batch: int = 4,
    marks: int = 8,
    seconds: float = 60.0,
) -> ProbeKey:
    """The key of what a module computes and how its parameters enter, whatever their values, names and order.

    ``inputs`` are shapes without the batch, or tensors (with it) to use as they are, such as token indices; float64
    numbers of ``batch`` examples are made for the shapes. Runs a float64 copy on the CPU in evaluation mode, but with
    batch norms going by the batch; the module and every random state stay as they were. Frozen parameters
    (``requires_grad=False``) and buffers are constants of the function and keep their values.

    Layers that read the same at first get the same weights, and only gradients tell them apart; up to ``marks`` runs
    more, each with one of those layers marked, make that sharper. ``ProbeError`` where the module cannot be copied,
    fails, or takes more than ``seconds``.
    """
    if batch < 2:
        raise ValueError(f"batch norms need a batch of 2 or more, not {batch}")
    what = _named(type(module))
    with _surroundings(seconds, what):
        points = [
            x.detach().to("cpu", torch.float64 if x.is_floating_point() else x.dtype)
            if isinstance(x, Tensor)
            else _point(place, (batch, *x))
            for place, x in enumerate(inputs)
        ]
        plain = _run(module, points, None)
        groups: dict[bytes, list[int]] = {}
        for instance in plain.read:
            groups.setdefault(instance.digest, []).append(instance.place)
        plainly, marked, left = repr(plain.structure), [], marks
        for _, digest, places in sorted((len(p), d, sorted(p)) for d, p in groups.items() if len(p) > 1):
            left -= len(places)
            if left < 0:
                break
            traces = [_run(module, points, place) for place in places]
            # A mark that changes nothing is on a layer without influence, of which there may be any number.
            traces = [t for t in traces if repr(t.structure) != plainly or not _close(t.values, plain.values)]
            marked += [(digest, trace) for trace in traces if len(traces) > 1]
    marked.sort(key=lambda m: (m[0], repr(m[1].structure), _cells(m[1].values, 0.0, 1e8).tobytes()))
    values = [*plain.values, *(v for _, trace in marked for v in trace.values)]
    shapes = [tuple(x.shape) for x in points]
    return _key("module", (shapes, plain.structure, [(d, trace.structure) for d, trace in marked]), values)


# -- callables -------------------------------------------------------------------------------------------------------

LENGTH = 8  # of the vectors that a callable gets when its inputs are not described
_SCALES = (1.0, 10.0, 100.0)  # of the inputs, seed by seed, so that thresholds such as relu6's are met


def _arguments(function: Callable[..., object]) -> int:
    """How many arguments a callable needs."""
    if isinstance(function, numpy.ufunc):
        return function.nin
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError) as error:
        raise ProbeError(f"{_named(function)} does not say what it takes; describe its `inputs`") from error
    needed = [p for p in parameters if p.default is p.empty]
    for parameter in needed:
        if parameter.kind not in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            raise ProbeError(f"{_named(function)} takes {parameter}, of any number; describe its `inputs`")
    return len(needed)


def _call(function: Callable[..., object], arguments: list[Any], seed: int) -> object:
    """What a call returns, or changes where it returns nothing; what it raises, as a result of its own."""
    try:
        fresh = copy.deepcopy(function)  # objects may count their calls
    except Exception as error:
        raise ProbeError(f"{_named(function)} cannot be copied: {type(error).__name__}: {error}") from error
    _reset_randomness(seed)
    try:
        result = fresh(*arguments)
    except Exception as error:  # noqa: BLE001 - whatever it raises is what it does
        return _Raised(type(error).__name__)
    return arguments if result is None else result


class _Raised(str):
    """The name of an exception's type, in place of a result."""

    __slots__ = ()


def _attempts(
    function: Callable[..., object], points: list[Reals], inferred: bool, seed: int
) -> Iterator[tuple[object, list[float]]]:
    """The callable on arrays, on tensors and, where vectors were our own idea, on plain numbers one by one."""
    what = _named(function)

    def read(result: object) -> tuple[object, list[float]]:
        return (("raises", str(result)), []) if isinstance(result, _Raised) else _read(result, what)

    scalars = [float(p) if not p.ndim else None for p in points]
    for make in (numpy.array, torch.tensor):
        given = [make(p) if s is None else s for p, s in zip(points, scalars, strict=True)]
        yield read(_call(function, given, seed))
    if inferred:
        results = [_call(function, [float(p[place]) for p in points], seed) for place in range(LENGTH)]
        single = all(isinstance(r, float | int | numpy.number | Tensor) and not isinstance(r, bool) for r in results)
        if single and all(numpy.ndim(_array(r, what)) == 0 for r in results):
            yield read(numpy.array([_array(r, what) for r in results]))  # as if it had taken the vector
        else:
            parts = [read(r) for r in results]
            kind = "raises" if all(isinstance(r, _Raised) for r in results) else "one by one"
            yield (kind, [s for s, _ in parts]), [v for _, values in parts for v in values]


def probe_callable(
    function: Callable[..., object],
    inputs: Sequence[tuple[int, ...]] | None = None,
    *,
    seeds: int = 3,
    seconds: float = 10.0,
) -> ProbeKey:
    """The key of what a callable computes on numbers.

    ``inputs`` is a shape for each argument, ``()`` for a plain float; without it, each argument that the signature
    needs is a vector of 8. Tried on numpy arrays, then on tensors and, without ``inputs``, on floats one by one: the
    first of these on which it does not always raise counts, and which one that was does not. What is raised is part of
    the key, by type. ``random``, numpy and torch are reset before every call, objects copied; a callable that is
    nevertheless not the same twice is a ``ProbeError``.
    """
    shapes = [(LENGTH,)] * _arguments(function) if inputs is None else [tuple(s) for s in inputs]
    with _surroundings(seconds, _named(function)):
        points = [
            [
                (_uniform(f"argument {place} of seed {seed}", math.prod(s)) * _SCALES[seed % len(_SCALES)]).reshape(s)
                for place, s in enumerate(shapes)
            ]
            for seed in range(seeds)
        ]

        def runs() -> list[tuple[object, list[float]]]:
            kinds = zip(*(_attempts(function, p, inputs is None, seed) for seed, p in enumerate(points)), strict=True)
            readings: list[tuple[object, list[float]]] = []
            for kind in kinds:
                readings = list(kind)
                if not all(isinstance(s, tuple) and s[:1] == ("raises",) for s, _ in readings):
                    break
            return readings

        readings = _twice(runs, _named(function))
    return _key("callable", (shapes, [s for s, _ in readings]), [v for _, values in readings for v in values])


def _twice(runs: Callable[[], list[tuple[object, list[float]]]], what: str) -> list[tuple[object, list[float]]]:
    """What a run gives, checked by another."""
    first = runs()
    if first != runs():
        raise ProbeError(f"{what} does not give the same twice; it keeps state, or draws numbers nobody can reset")
    return first


# -- learning programs -----------------------------------------------------------------------------------------------


def probe_program(
    setup: Callable[[State], object],
    predict: Callable[[State], object],
    learn: Callable[[State], object],
    *,
    features: int = 4,
    examples: int = 10,
    seeds: int = 3,
    seconds: float = 10.0,
) -> ProbeKey:
    """The key of a learning program in AutoML-Zero's form (arXiv 2003.03384, fig. 1): its errors, in order.

    The functions share a dictionary: ``setup`` fills it; ``predict`` reads ``state["x"]``, a float64 vector of
    ``features``, and writes ``state["prediction"]`` or returns it; ``learn`` may also read ``state["y"]``. Each of
    ``seeds`` fixed regression tasks has ``examples`` to train on and as many to validate on. A task ends with the first
    exception, whose type is part of the key.
    """
    what = _named(predict)

    def task(seed: int) -> tuple[object, list[float]]:
        numbers = _uniform(f"task {seed}", (2 * examples + 2) * features).reshape(-1, features) * 2
        teacher, bend, points = numbers[0], numbers[1], numbers[2:]
        targets = numpy.tanh(points @ teacher) + 0.3 * (points @ bend)
        state: dict[str, Any] = {}
        structure: list[object] = []
        errors: list[float] = []
        _reset_randomness(seed)
        try:
            setup(state)
            for place, (x, y) in enumerate(zip(points, targets, strict=True)):
                state["x"] = x.copy()
                state.pop("y", None)  # not to be seen by a prediction
                returned = predict(state)
                if returned is not None:
                    state["prediction"] = returned
                error = float(y) - float(state["prediction"])
                if math.isfinite(error):
                    errors.append(error)
                else:
                    structure.append((place, repr(error)))
                if place < examples:
                    state["y"] = float(y)
                    learn(state)
        except Exception as error:  # noqa: BLE001 - whatever it raises is what it does
            structure.append(("raises", type(error).__name__, len(errors)))
        return tuple(structure), errors

    with _surroundings(seconds, what):
        readings = _twice(lambda: [task(seed) for seed in range(seeds)], what)
    return _key("program", (features, examples, [s for s, _ in readings]), [v for _, e in readings for v in e])


# -- optimisers ------------------------------------------------------------------------------------------------------


def probe_optimizer(
    make: Callable[[list[nn.Parameter]], torch.optim.Optimizer],
    shapes: Sequence[tuple[int, ...]] = ((3, 2), (4,)),
    *,
    steps: int = 12,
    seconds: float = 10.0,
) -> ProbeKey:
    """The key of an optimiser's step law: how parameters of these ``shapes`` move, step by step.

    ``steps`` with fixed gradients of many sizes (a constant added to a denominator must show), then as many, with an
    optimiser made anew, down a fixed loss that is not quadratic. ``step`` gets a closure where it insists on one.
    """
    what = _named(make)
    sizes = (1.0, 0.5, 2.0, 0.1, 1e-3, 1e-7, 1e-8, 0.3)  # a fall after a rise tells AMSGrad from Adam

    def trajectory(fixed: bool) -> tuple[object, list[float]]:
        _reset_randomness(0)
        parameters = [
            nn.Parameter(torch.tensor(_uniform(f"start {i}", math.prod(s))).reshape(s)) for i, s in enumerate(shapes)
        ]
        anchors = [torch.tensor(_uniform(f"anchor {i}", math.prod(s))).reshape(s) * 2 for i, s in enumerate(shapes)]
        optimizer = make(parameters)
        insists = [
            p
            for p in inspect.signature(optimizer.step).parameters.values()
            if p.default is p.empty and "closure" in p.name
        ]
        structure: list[object] = []
        values: list[float] = []
        for step in range(steps):

            def closure(step: int = step) -> float:
                optimizer.zero_grad()
                if fixed:
                    for place, parameter in enumerate(parameters):
                        name = f"gradient {step} {place}"
                        gradient = torch.tensor(_uniform(name, parameter.numel())).reshape(parameter.shape)
                        parameter.grad = gradient * sizes[(step + 3 * place) % len(sizes)]
                    return 0.0
                loss = torch.zeros(())
                for parameter, anchor in zip(parameters, anchors, strict=True):
                    away = parameter - anchor
                    loss = loss + torch.log(torch.cosh(2 * away)).sum() + 0.1 * (away**4).sum() + away.sum() ** 2
                loss.backward()  # type: ignore[no-untyped-call]
                return float(loss)

            before = [p.detach().clone() for p in parameters]
            if insists:
                optimizer.step(closure)
            else:
                closure()
                optimizer.step()
            for old, parameter in zip(before, parameters, strict=True):
                # Moves, not positions: a small rate would vanish beside them. What rounding leaves of none is none.
                moves = (parameter.detach() - old).numpy().ravel()
                structure.append(_not_finite(moves))
                floor = 1e-14 * float(old.abs().max())
                read = _read(numpy.where(numpy.abs(moves) > floor, moves, 0.0), what)
                values += read[1]
        return tuple(structure), values

    with _surroundings(seconds, what):
        try:
            readings = _twice(lambda: [trajectory(True), trajectory(False)], what)
        except ProbeError:
            raise
        except Exception as error:
            raise ProbeError(f"the optimiser of {what} failed: {type(error).__name__}: {error}") from error
    return _key("optimizer", (list(shapes), steps, [s for s, _ in readings]), [v for _, m in readings for v in m])
