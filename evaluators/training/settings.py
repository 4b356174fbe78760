"""The settings of all trainings from scratch, and the training for a data set with settings over its defaults."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Protocol, TypeVar

from search_spaces.registry import unknown_name

_TYPES: dict[str, type | tuple[type, ...]] = {"str": str, "int": int, "bool": bool, "float": (int, float)}


class LoadedData(Protocol):
    """A data set in memory; ``digest`` is a hash of all that training on it depends on."""

    @property
    def digest(self) -> str: ...


@dataclass(frozen=True)
class TrainingSettings(ABC):
    """The settings that every training has, checked when they are set: ``ValueError`` says which one is wrong.

    Subclasses are frozen dataclasses of plain settings (str, int, bool, float). width: the factor on the candidate's
    widths. learning_rate: the peak one of ``Muon``'s orthogonal steps. data_seed: selects the data or the subset.
    memory_limit_mib: candidates whose training
    is estimated above it fail with ``OutOfMemory``.
    """

    data: str = "digits"
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

    version: ClassVar[int] = 1
    """Raised when the same settings give other results than before; part of ``cache_identity``."""

    def __post_init__(self) -> None:
        for field in fields(self):
            expected = _TYPES[str(field.type)]
            value = getattr(self, field.name)
            if not isinstance(value, expected) or isinstance(value, bool) != (expected is bool):
                raise ValueError(f"{field.name} is {value!r}; it must be of type {field.type}")
        self.require_at_least(steps=1, batch_size=2, max_train_images=1, max_val_images=1, data_seed=0)
        self.require_positive("width", "learning_rate", "time_limit_s", "memory_limit_mib")

    def require_at_least(self, **minima: int) -> None:
        """ValueError unless each of these settings has at least that value."""
        for name, minimum in minima.items():
            if getattr(self, name) < minimum:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it must be {minimum} at least")

    def require_positive(self, *names: str) -> None:
        """ValueError unless each of these settings is above 0."""
        for name in names:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it must be above 0")

    @property
    @abstractmethod
    def name(self) -> str:
        """In one word, what is trained."""

    @property
    @abstractmethod
    def num_classes(self) -> int:
        """Of the data. Raises ``DataError``."""

    @abstractmethod
    def load(self) -> LoadedData:
        """The data set, loaded once a process. Raises ``DataError``."""

    @property
    def data_arguments(self) -> dict[str, Any]:
        """The keyword arguments of a data loader, after the text that names the data."""
        return {
            "image_size": self.image_size,
            "seed": self.data_seed,
            "max_train_images": self.max_train_images,
            "max_val_images": self.max_val_images,
        }

    @property
    def proxy(self) -> dict[str, Any]:
        """Options of the space to build a candidate with for training. Raises ``DataError``."""
        return {"image_size": self.image_size, "width": self.width, "num_classes": self.num_classes}

    @property
    def deploy(self) -> dict[str, Any]:
        """Options that the data require of the network itself; none for digits, which only stand in for the user's own.

        Raises ``DataError``.
        """
        return {} if self.data == "digits" else {"num_classes": self.num_classes}

    def describe(self) -> str:
        """The proxy scale in words."""
        return (
            f"{self.data}, {self.image_size} px, width x{self.width:g}, {self.steps} steps of {self.batch_size} images"
            f" from at most {self.max_train_images}, measured on at most {self.max_val_images}"
        )

    def cache_identity(self) -> dict[str, Any]:
        """All that a stored result depends on: this training, the data, and the proxy scale. Raises ``DataError``."""
        settings = {field.name: getattr(self, field.name) for field in fields(self)}
        not_fidelity = ("data", "time_limit_s", "memory_limit_mib")
        return {
            "evaluator": f"{self.name}/{self.version}",
            "data": self.load().digest,
            "fidelity": {name: value for name, value in settings.items() if name not in not_fidelity},
        }


SettingsType = TypeVar("SettingsType", bound=TrainingSettings)


def training_for_data(
    kind: type[SettingsType],
    description: str,
    defaults_by_data: Mapping[str, Mapping[str, Any]],
    data: str,
    settings: Mapping[str, Any],
) -> SettingsType:
    """The training of that kind for these data: its defaults for the word before the colon, and settings over them.

    ``description`` names it in the error for an unknown setting. Raises ``UnknownName``.
    """
    setting_names = [field.name for field in fields(kind)]
    for name in settings:
        if name not in setting_names:
            raise unknown_name(f"setting of {description}", name, setting_names)
    return kind(**{"data": data, **defaults_by_data.get(data.partition(":")[0], {}), **settings})
