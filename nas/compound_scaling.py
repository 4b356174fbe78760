"""The tiny formula: resolution, depth and width for a budget of multiply-adds (Han et al. 2020, arXiv 2010.14819).

Networks with random multipliers are evaluated. On those that no other dominates in quality and multiply-adds, Gaussian
processes learn resolution and depth as functions of the multiply-adds; the width is what the budget then leaves. The
paper computes it from ``C ~ r^2 d w^2``; here the built network decides, since stems, heads and rounding break that.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from math import ceil, exp, floor, isfinite, log
from typing import TYPE_CHECKING, Any

from evaluators.evaluator import EvaluationFailure, EvaluationJob, Evaluator
from evaluators.zero_cost.scores import ZeroCostScore, make_score
from nas.candidates.pareto import non_dominated_indices
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import GraphError
from search_spaces.registry import import_object, named_row

if TYPE_CHECKING:
    import pandas as pd

BaseNetwork = Callable[[float, float, float], Graph]
"""From multipliers of resolution, depth and width to a network; all of them 1: the base network."""

BASES: dict[str, str] = {
    "efficientnet_b0": "search_spaces.families.efficientnet:scaled_efficientnet",  # EfficientNet's own rounding
    "tinynet": "search_spaces.families.tinynet:scaled_tinynet",  # EfficientNet-B0 under the paper's rounding
}

RANGE = (0.35, 1.4)  # of random multipliers
ANY_WIDTH = (0.05, 8.0)
WIDTH_STEPS = 1000  # a width is a whole number of thousandths
_MIN_FRONTIER_POINTS = 3  # points on the frontier that make a trend
_MAX_DRAWS_PER_SAMPLE = 100  # draws for one sample within the budget


class ScalingError(ValueError):
    """A budget that cannot be reached, or samples that say too little; the message says what to change."""


@dataclass(frozen=True)
class ScalingSample:
    """One evaluated network. ``quality`` is ``None`` where the evaluation failed, for the ``reason`` given."""

    resolution: float
    depth: float
    width: float
    macs: int
    quality: float | None
    reason: str = ""


@dataclass(frozen=True)
class ScalingResult:
    """What the formula says for ``target_macs``, and what it says it from.

    ``resolution_std`` and ``depth_std`` are the Gaussian processes' own doubt; ``width`` is the largest whose network,
    ``graph``, has no more than ``target_macs``.
    """

    base: str
    base_macs: int
    target_macs: float
    samples: tuple[ScalingSample, ...]
    frontier: tuple[ScalingSample, ...]
    resolution: float
    resolution_std: float
    depth: float
    depth_std: float
    width: float
    graph: Graph

    @property
    def macs(self) -> int:
        return self.graph.macs

    def to_frame(self) -> pd.DataFrame:
        """One row a sample: multipliers, MACs, their ratio to the base's, quality, whether on the frontier, reason."""
        import pandas as pd

        best = set(self.frontier)
        rows = [
            {
                "resolution": s.resolution,
                "depth": s.depth,
                "width": s.width,
                "macs": s.macs,
                "ratio": s.macs / self.base_macs,
                "quality": s.quality,
                "frontier": s in best,
                "reason": s.reason,
            }
            for s in self.samples
        ]
        return pd.DataFrame(rows)

    def to_document(self) -> dict[str, Any]:
        """The result as JSON-able data: the multipliers, what they cost, and the frontier; without the network."""
        return {
            "base": self.base,
            "base_macs": self.base_macs,
            "target_macs": self.target_macs,
            "macs": self.macs,
            "params": self.graph.params,
            "resolution": self.resolution,
            "resolution_std": self.resolution_std,
            "depth": self.depth,
            "depth_std": self.depth_std,
            "width": self.width,
            "samples": len(self.samples),
            "frontier": [asdict(s) for s in self.frontier],
        }


def scale(
    base: str | BaseNetwork,
    macs: float,
    *,
    samples: int = 100,
    evaluator: str | Callable[[Graph], float] | ZeroCostScore | Evaluator = "entropy",
    known: Sequence[ScalingSample] = (),
    budget: tuple[float, float] = (0.03, 1.05),
    resolutions: tuple[float, float] = RANGE,
    depths: tuple[float, float] = RANGE,
    widths: tuple[float, float] = RANGE,
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> ScalingResult:
    """The multipliers of ``base`` for ``macs`` multiply-adds, and the network they make.

    ``base`` is a name of ``BASES`` or a function of the multipliers of resolution, depth and width; ``options`` are
    its keyword arguments, such as the number of classes. ``samples`` networks with multipliers within ``resolutions``,
    ``depths`` and ``widths``, and between ``budget`` times the base's multiply-adds, are evaluated by ``evaluator``: a
    zero-cost score or its name, a function of the network, or a training, which trains each sample as it is built;
    more is better. The quality of a training is its first metric, or the negative of one to minimise; one that fails
    leaves its sample out. ``known`` are samples of an earlier call in place of new ones, for another ``macs``: sampling
    does not depend on that. Resolution and depth stay within their ranges; the width is whatever the budget then
    leaves.

    Entropy, the default, grows with layers and counts no pixels, so the formula it gives is deep, wide and of low
    resolution. It costs seconds and shows the procedure; the paper trains every sample.

    Raises ``ScalingError``, ``UnknownName``, and ``GraphError`` where the base itself cannot be built.
    """
    name = base if isinstance(base, str) else getattr(base, "__name__", type(base).__name__)
    build: BaseNetwork = import_object(named_row("base", base, BASES)) if isinstance(base, str) else base
    if options:
        build = partial(build, **options)
    _check_ranges(budget=budget, resolutions=resolutions, depths=depths, widths=widths)
    base_network = build(1.0, 1.0, 1.0)
    _check_target(macs, base_network.macs, budget)
    evaluated = tuple(known)
    if not known:
        quality = _quality(evaluator, base_network, seed)
        limits = (budget[0] * base_network.macs, budget[1] * base_network.macs)
        ranges = (resolutions, depths, widths)
        networks = _sample_multipliers(build, samples, limits, ranges, random.Random(seed))
        evaluated = tuple(_evaluate_sample(multipliers, graph, quality) for multipliers, graph in networks)
    frontier = _frontier(evaluated)
    ratio, ratios = macs / base_network.macs, [s.macs / base_network.macs for s in frontier]
    resolution, resolution_std = _predict(ratios, [s.resolution for s in frontier], ratio, seed)
    depth, depth_std = _predict(ratios, [s.depth for s in frontier], ratio, seed)
    resolution = round(min(max(resolution, resolutions[0]), resolutions[1]), 3)
    depth = round(min(max(depth, depths[0]), depths[1]), 3)
    width = width_for(build, macs, resolution=resolution, depth=depth)
    return ScalingResult(
        base=name,
        base_macs=base_network.macs,
        target_macs=macs,
        samples=evaluated,
        frontier=frontier,
        resolution=resolution,
        resolution_std=resolution_std,
        depth=depth,
        depth_std=depth_std,
        width=width,
        graph=build(resolution, depth, width),
    )


def _check_ranges(**ranges: tuple[float, float]) -> None:
    for name, (low, high) in ranges.items():
        if not 0 < low <= high < float("inf"):
            raise ScalingError(f"{name} must be two numbers above 0, the lower first, not {low:g} and {high:g}")


def _check_target(macs: float, base_macs: int, budget: tuple[float, float]) -> None:
    if not budget[0] * base_macs <= macs <= budget[1] * base_macs:
        raise ScalingError(
            f"{macs:.4g} multiply-adds are {macs / base_macs:.3g} of the base's {base_macs:.4g}, and the samples are"
            f" to cost {budget[0]:g} to {budget[1]:g} of it; choose a target among them, or another budget"
        )


def _frontier(evaluated: Sequence[ScalingSample]) -> tuple[ScalingSample, ...]:
    """The samples that no other dominates in quality and multiply-adds. Raises ``ScalingError`` for too few of them."""
    rated = [(s, s.quality) for s in evaluated if s.quality is not None]
    frontier = tuple(rated[i][0] for i in non_dominated_indices([(-quality, float(s.macs)) for s, quality in rated]))
    if len(frontier) < _MIN_FRONTIER_POINTS:
        reasons = sorted({s.reason for s in evaluated if s.reason})
        raise ScalingError(
            f"{len(frontier)} of {len(evaluated)} samples are on the frontier of quality and multiply-adds, too few"
            f" for a trend; take more samples{' (failures: ' + '; '.join(reasons[:3]) + ')' if reasons else ''}"
        )
    return frontier


def width_for(
    base: BaseNetwork, macs: float, *, resolution: float, depth: float, widths: tuple[float, float] = ANY_WIDTH
) -> float:
    """The largest width, to a thousandth, whose network has no more than ``macs`` multiply-adds: by bisection.

    Where the base has many widths of one network, it is the last of them. Raises ``ScalingError`` where ``widths``
    holds no such width, or ends before the multiply-adds are spent.
    """

    def cost(step: int) -> int:
        return base(resolution, depth, step / WIDTH_STEPS).macs

    low, high = ceil(round(widths[0] * WIDTH_STEPS, 6)), floor(round(widths[1] * WIDTH_STEPS, 6))
    at = f"at resolution {resolution:g} and depth {depth:g}"
    if (least := cost(low)) > macs:
        raise ScalingError(
            f"{macs:.4g} multiply-adds cannot be reached: {at} even width {widths[0]:g} has {least:.4g};"
            " allow smaller resolutions or depths"
        )
    if (most := cost(high)) < macs:
        raise ScalingError(
            f"{macs:.4g} multiply-adds cannot be reached: {at} even width {widths[1]:g} has only {most:.4g};"
            " allow larger resolutions or depths"
        )
    if most == macs:
        return high / WIDTH_STEPS
    while high - low > 1:  # cost(low) <= macs < cost(high)
        middle = (low + high) // 2
        if cost(middle) <= macs:
            low = middle
        else:
            high = middle
    return low / WIDTH_STEPS


Multipliers = tuple[float, float, float]


def _sample_multipliers(
    build: BaseNetwork,
    count: int,
    limits: tuple[float, float],
    ranges: Sequence[tuple[float, float]],
    rng: random.Random,
) -> list[tuple[Multipliers, Graph]]:
    """Random multipliers, uniform in the logarithm so that small networks are as many, that cost what they may."""
    networks: list[tuple[Multipliers, Graph]] = []
    for _ in range(_MAX_DRAWS_PER_SAMPLE * count):
        if len(networks) == count:
            return networks
        resolution, depth, width = [round(exp(rng.uniform(log(low), log(high))), 3) for low, high in ranges]
        try:
            graph = build(resolution, depth, width)
        except GraphError:  # an image too small for its strides
            continue
        if limits[0] <= graph.macs <= limits[1]:
            networks.append(((resolution, depth, width), graph))
    if len(networks) < count:
        raise ScalingError(
            f"only {len(networks)} of {_MAX_DRAWS_PER_SAMPLE * count} random networks cost {limits[0]:.4g} to"
            f" {limits[1]:.4g} multiply-adds, {count} are needed; choose wider resolutions, depths, widths or budget"
        )
    return networks


def _quality(
    evaluator: str | Callable[[Graph], float] | ZeroCostScore | Evaluator, base_network: Graph, seed: int
) -> Callable[[Graph], float]:
    """Any evaluator as a function from network to quality; a training says of the base whether it can train it."""
    if isinstance(evaluator, Evaluator):
        evaluator.check(base_network)
        return partial(_trained_quality, evaluator, seed)
    evaluator_object: Any = make_score(evaluator) if isinstance(evaluator, str) else evaluator
    score: Callable[[Graph], float] = getattr(evaluator_object, "score", evaluator_object)
    return score


def _trained_quality(evaluator: Evaluator, seed: int, graph: Graph) -> float:
    """The evaluator's first metric, its sign changed where less is better."""
    metric = evaluator.metrics[0]
    value = evaluator.evaluate(EvaluationJob(graph, seed=seed)).metrics[metric.name]
    return value if metric.direction == "maximize" else -value


def _evaluate_sample(multipliers: Multipliers, graph: Graph, quality: Callable[[Graph], float]) -> ScalingSample:
    try:
        value = float(quality(graph))
    except EvaluationFailure as failure:
        return ScalingSample(*multipliers, graph.macs, None, failure.code)
    if not isfinite(value):
        return ScalingSample(*multipliers, graph.macs, None, "quality is not finite")
    return ScalingSample(*multipliers, graph.macs, value)


def _predict(ratios: Sequence[float], values: Sequence[float], at: float, seed: int) -> tuple[float, float]:
    """Mean and deviation at the ratio ``at`` of a Gaussian process through the frontier (the paper's eq. for r, d).

    The length of its squared exponential and its noise, which the paper does not state, maximise the likelihood.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, WhiteKernel

    process = GaussianProcessRegressor(
        RBF(0.5, (0.05, 10.0)) + WhiteKernel(0.1, (1e-5, 1e1)),
        normalize_y=True,
        n_restarts_optimizer=4,
        random_state=seed,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a length or noise at its bound: no trend, or no noise
        process.fit([[ratio] for ratio in ratios], list(values))
    mean, std = process.predict([[at]], return_std=True)
    return float(mean[0]), float(std[0])
