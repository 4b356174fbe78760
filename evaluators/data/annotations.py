"""The readers of annotated folders by format, Pascal VOC or COCO, and the boxes of a folder, no image decoded.

Folders are hostile input: whatever is wrong with one ends in a ``DataError``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from evaluators.data.folder import AnnotatedFolder
from evaluators.evaluator import DataError
from search_spaces.registry import import_object

# By the word before the colon: a function (folder, seed) -> AnnotatedFolder
ANNOTATION_READERS: dict[str, str] = {
    "voc": "evaluators.data.voc:read_voc",
    "coco": "evaluators.data.coco:read_coco",
}


def read_annotations(text: str, seed: int) -> AnnotatedFolder:
    """The annotations of ``voc:FOLDER`` or ``coco:FOLDER``; the seed splits a folder that has no split.

    Crowds, objects marked difficult, and boxes without area are left out. Raises ``DataError``.
    """
    kind, colon, folder = text.partition(":")
    if kind not in ANNOTATION_READERS or not colon:
        raise DataError(f"no detection data {text!r}; give digits, voc:FOLDER or coco:FOLDER")
    root = Path(folder).expanduser()
    if not folder or "\0" in folder or not root.is_dir():
        raise DataError(f"{text!r}: no folder {folder!r}; give {kind}:FOLDER with a folder that exists")
    read: Callable[[Path, int], AnnotatedFolder] = import_object(ANNOTATION_READERS[kind])
    return read(root.resolve(), seed)
