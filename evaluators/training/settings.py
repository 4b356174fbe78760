"""The settings of all trainings from scratch, and the checks of settings that are plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any

from evaluators.data.catalog import DataSpec

_TYPES: dict[str, type | tuple[type, ...]] = {"str": str, "int": int, "bool": bool, "float": (int, float)}

ADDED_LATER: Mapping[str, bool] = {"added_later": True}
"""Metadata of a setting that earlier releases had not: part of ``identity_of`` only where it is not the default.

What was stored before it was there still counts, for the default does what was done then.
"""


def is_drawn(data: Any) -> bool:
    """Whether these are the drawn digits, which are no photographs, and only stand in for the user's own data."""
    return isinstance(data, str | DataSpec) and str(data) == "digits"


@dataclass(frozen=True)
class TrainingSettings:
    """The settings that every training has, checked when they are set: ``ValueError`` says which one is wrong.

    data: as ``open_data_set`` takes them, such as ``voc:FOLDER``, or an open ``DataSet``. width: the factor on the
    candidate's widths. learning_rate: the peak one of ``Muon``'s orthogonal steps. data_seed: selects the data or the
    subset. memory_limit_mib: candidates whose training is estimated above it fail with ``OutOfMemory``. channels: of
    the images; 0 for what the files have.
    """

    data: Any = "digits"
    image_size: int = 96
    width: float = 0.5
    steps: int = 100
    batch_size: int = 16
    learning_rate: float = 0.8
    horizontal_flip: bool = False
    max_train_images: int = 1600
    max_val_images: int = 256
    data_seed: int = 0
    time_limit_s: float = 300.0
    memory_limit_mib: float = 4096.0
    channels: int = field(default=0, metadata=ADDED_LATER)

    def __post_init__(self) -> None:
        check_types(self, *fields(TrainingSettings))
        require_at_least(
            self, steps=1, batch_size=2, max_train_images=1, max_val_images=1, data_seed=0, image_size=1, channels=0
        )
        require_positive(self, "width", "learning_rate", "time_limit_s", "memory_limit_mib")


def check_types(settings: Any, *settings_fields: Field[Any]) -> None:
    """ValueError unless each of these settings, by default all, has the type of its annotation, as Python writes it.

    A whole number is a float, a boolean no number. Annotations other than str, int, bool and float are not checked.
    """
    for setting in settings_fields or fields(settings):
        kind = setting.type if isinstance(setting.type, str) else setting.type.__name__
        expected = _TYPES.get(kind)
        value = getattr(settings, setting.name)
        if expected and (not isinstance(value, expected) or isinstance(value, bool) != (expected is bool)):
            raise ValueError(f"{setting.name} is {value!r}; it must be of type {kind}")


def require_at_least(settings: Any, **minima: int) -> None:
    """ValueError unless each of these settings has at least that value."""
    for name, minimum in minima.items():
        if getattr(settings, name) < minimum:
            raise ValueError(f"{name} is {getattr(settings, name)!r}; it must be {minimum} at least")


def require_positive(settings: Any, *names: str) -> None:
    """ValueError unless each of these settings is above 0."""
    for name in names:
        if not getattr(settings, name) > 0:
            raise ValueError(f"{name} is {getattr(settings, name)!r}; it must be above 0")


def identity_of(settings: Any, kind: type, *, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """The settings of this dataclass for a cache key: those added later only where they are not the default."""
    return {
        f.name: getattr(settings, f.name)
        for f in fields(kind)
        if f.name not in without and not (f.metadata.get("added_later") and getattr(settings, f.name) == f.default)
    }
