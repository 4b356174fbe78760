"""One network on its way through a search, with its measurements and its status."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from nas.candidates.fidelity import fidelity_suffix
from search_spaces.space.genotype import Genotype

# scored: not chosen for training; infeasible: over a hard limit; failed: its training broke off;
# stopped: trained at a fidelity below 1, and not in full
Status = Literal["scored", "infeasible", "trained", "failed", "stopped"]


@dataclass(frozen=True)
class Measurement:
    """A figure and where it comes from, such as ``predicted:edgetpu@1`` or ``trained:digits``.

    ``std`` is ``None`` where the source does not say.
    """

    value: float
    source: str
    std: float | None = None


@dataclass(frozen=True)
class Candidate:
    """A distinct network of a search. ``number`` counts from 0 in the order they were drawn.

    ``fidelity`` is the highest that a stopped candidate was trained at, or that at which a failed one failed; a quality
    at a fidelity below 1 is measured as ``map@1/9``, never as ``map``.
    """

    number: int
    key: str
    architecture: str
    genotype: Genotype
    measurements: Mapping[str, Measurement]
    status: Status
    reason: str = ""
    constraint_violation: float = 0.0
    reference: str = ""  # the name of a published network that was trained beside the search, else empty
    fidelity: float = 1.0
    train_seconds: float | None = field(
        default=None, compare=False
    )  # a time and no figure: it differs from run to run, and is not compared

    @cached_property
    def metrics(self) -> dict[str, float]:
        """Every figure by name."""
        return {name: m.value for name, m in self.measurements.items()}

    @property
    def was_trained(self) -> bool:
        """Whether it has figures of a full training, within the limits or not."""
        return any(m.source.startswith("trained:") for m in self.measurements.values())

    def metrics_at_fidelity(self, fidelity: float) -> dict[str, float]:
        """Every figure by name, of qualities those of the training at this fidelity."""
        metrics, suffix = self.metrics, fidelity_suffix(fidelity)
        own = {name.removesuffix(suffix): value for name, value in metrics.items() if name.endswith(suffix)}
        return {**metrics, **own}

    def to_document(self) -> dict[str, Any]:
        """The candidate as JSON-able data."""
        return {
            "number": self.number,
            "key": self.key,
            "architecture": self.architecture,
            "genotype": dict(self.genotype),
            "status": self.status,
            "reason": self.reason,
            "excess": self.constraint_violation,
            "reference": self.reference,
            **({"share": self.fidelity} if self.fidelity != 1 else {}),
            "measurements": {
                n: {"value": m.value, "source": m.source, "std": m.std} for n, m in self.measurements.items()
            },
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Candidate:
        """Read ``to_document``'s data; raises ``KeyError`` or ``TypeError`` for anything else."""
        return cls(
            number=int(document["number"]),
            key=str(document["key"]),
            architecture=str(document["architecture"]),
            genotype=Genotype.from_document(document["genotype"]),
            measurements={
                n: Measurement(float(m["value"]), str(m["source"]), m.get("std"))
                for n, m in document["measurements"].items()
            },
            status=document["status"],
            reason=str(document["reason"]),
            constraint_violation=float(document["excess"]),
            reference=str(document["reference"]),
            fidelity=float(document.get("share", 1.0)),
        )
