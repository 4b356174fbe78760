"""The formats of data sets: a table of strings, and the text ``kind:PATH`` taken apart, once.

Other packages add formats through the entry-point group ``nas.data``, whose objects are ``DataFormat``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from evaluators.data.data_set import Annotation
from evaluators.evaluator import DataError
from search_spaces.registry import named_row, table_with_plugins


@dataclass(frozen=True)
class DataFormat:
    """One format: the function that lists it, and the annotations it can have.

    ``open``: ``package.module:name`` of a function from a ``listing.DataRequest`` to a ``listing.Listing``, or to a
    ``DataSet`` where images are made, not read. ``needs``: what must follow the colon, if anything; ``example``: of
    such a text. ``defaults``: settings of trainings on it, over those for photographs.
    """

    open: str
    annotations: tuple[Annotation, ...]
    needs: str = ""
    example: str = ""
    defaults: Mapping[str, Any] = field(default_factory=dict)


PYTHON_OBJECTS = "python"
"""The kind of data that are objects of a Python program; no text names them."""

# By the word before the colon
DATA_FORMATS: dict[str, DataFormat] = {
    "digits": DataFormat("evaluators.data.formats.digits:open_digits", ("boxes", "class", "masks")),
    "folder": DataFormat(
        "evaluators.data.formats.class_folders:open_class_folders", ("class",), "a folder", "folder:path/to/images"
    ),
    "voc": DataFormat("evaluators.data.formats.voc:open_voc", ("boxes", "masks"), "a folder", "voc:VOCdevkit/VOC2012"),
    "coco": DataFormat(
        "evaluators.data.formats.coco:open_coco", ("boxes", "masks"), "a folder or a JSON file", "coco:path/to/coco"
    ),
    "yolo": DataFormat(
        "evaluators.data.formats.yolo:open_yolo",
        ("boxes", "masks"),
        "a folder with data.yaml",
        "yolo:path/to/data.yaml",
    ),
    "csv": DataFormat("evaluators.data.formats.csv_files:open_csv_files", ("class",), "a CSV file", "csv:labels.csv"),
    "npz": DataFormat("evaluators.data.formats.npz:open_npz", ("class", "masks"), "an .npz file", "npz:images.npz"),
}

_PYTHON_FORMAT = DataFormat("evaluators.data.formats.python_objects:open_python_objects", ("class", "boxes", "masks"))


@dataclass(frozen=True)
class DataSpec:
    """Which data: the word before the colon and what follows it; or the samples of a Python program."""

    kind: str
    location: str = ""
    samples: Any = None

    def __str__(self) -> str:
        return data_text(self)


def data_formats() -> dict[str, DataFormat]:
    """The formats by name, those of installed plug-ins (entry-point group ``nas.data``) included."""
    return table_with_plugins("nas.data", DATA_FORMATS, DataFormat)


def data_format(spec: DataSpec) -> DataFormat:
    """The format of these data. Raises ``UnknownName``."""
    if spec.samples is not None:
        return _PYTHON_FORMAT
    # Own rows first: to ask for those of packages takes longer than all else, and this is asked often
    return DATA_FORMATS.get(spec.kind) or named_row("kind of data", spec.kind, data_formats())


def data_spec(data: Any) -> DataSpec:
    """Which data a text ``kind:PATH`` names, or an object of a Python program is; a ``DataSpec`` is itself.

    Of objects: ``formats.python_objects``. Raises ``UnknownName``, ``DataError``.
    """
    if isinstance(data, DataSpec):
        return data
    if not isinstance(data, str):
        from evaluators.data.formats.python_objects import python_samples

        return DataSpec(PYTHON_OBJECTS, samples=python_samples(data))
    kind, _, location = data.partition(":")
    if kind == PYTHON_OBJECTS:
        raise DataError(f"{data}: these data were an object of a Python program; give it the object, in Python")
    spec = DataSpec(kind, location)
    row = data_format(spec)
    if row.needs and not location:
        raise DataError(f"--data {kind} needs {row.needs}, as in {row.example or kind + ':path/to/data'}")
    if location and not row.needs:
        raise DataError(f"--data {kind} needs nothing after it, not {location!r}")
    return spec


def data_text(data: Any) -> str:
    """The text of data, as ``data_spec`` takes it; of a Python object, what it is in words."""
    spec = data_spec(data)
    if spec.samples is not None:
        return f"{spec.kind}:{spec.samples}"
    return f"{spec.kind}:{spec.location}" if spec.location else spec.kind
