"""A CSV file with a row for each image: its file and its label."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path

from evaluators.data.folder import VALIDATION_NAMES, FolderFiles, check_both_splits, existing_file, read_text
from evaluators.data.listing import DataRequest, ImageFile, Listing, Sample
from evaluators.evaluator import DataError

FILE_COLUMNS = ("file", "path", "image", "filename", "file_name", "filepath")
LABEL_COLUMNS = ("label", "class", "category", "target")
SPLIT_COLUMNS = ("split", "subset", "fold")


def open_csv_files(request: DataRequest) -> Listing:
    """The images of ``csv:FILE``, whose header names a column of ``FILE_COLUMNS`` and one of ``LABEL_COLUMNS``.

    Files are named from the folder that the CSV is in. A column of ``SPLIT_COLUMNS`` says ``train``, ``val`` or
    ``test`` of each; without it a fifth is held out. Classes are in the order of their numbers where all labels are
    whole numbers, else in alphabetical order. Raises ``DataError``.
    """
    path = existing_file(request.location, "csv")
    rows = _rows(path)
    files = FolderFiles(path.parent)
    classes = _in_class_order({label for _, label, _ in rows})
    if len(classes) < 2:
        raise DataError(f"{path}: one class, {classes[0]!r}; two at least are needed")
    number = {label: index for index, label in enumerate(classes)}
    samples: dict[str, list[Sample]] = {}
    seen: dict[str, int] = {}
    for row_number, (name, label, split) in enumerate(rows, start=2):
        source = f"{path}, row {row_number}"
        image = files.find(name, source)
        if image is None:
            raise DataError(f"{source}: no file {name!r} in {path.parent}; add it or take the row out")
        if image in seen:
            raise DataError(f"{source}: {name!r} is in row {seen[image]} too; give each image one row")
        seen[image] = row_number
        samples.setdefault(split, []).append(Sample(ImageFile(image), number[label]))
    folders = tuple(map(Path, {os.path.dirname(image): None for image in seen}))
    if set(samples) == {""}:
        return Listing(tuple(classes), samples[""], None, (path, *folders))
    held_out = next((name for name in VALIDATION_NAMES if name in samples), None)
    if held_out is None or "train" not in samples:
        raise DataError(
            f"{path}: the splits are {', '.join(sorted(samples))}; name them train and {' or '.join(VALIDATION_NAMES)}"
        )
    check_both_splits(samples["train"], samples[held_out], "images", path)
    return Listing(tuple(classes), samples["train"], samples[held_out], (path, *folders))


def _rows(path: Path) -> list[tuple[str, str, str]]:
    """File, label and split of each row."""
    text = read_text(path, "it is a table of files and labels", 1_000_000_000)
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    except csv.Error as error:
        raise DataError(f"{path} is no CSV file: {error}") from None
    header = [name.strip().lower() for name in rows[0]] if rows else []
    file_column = _column(header, FILE_COLUMNS, path)
    label_column = _column(header, LABEL_COLUMNS, path)
    split_column = next((header.index(name) for name in SPLIT_COLUMNS if name in header), None)
    if len(rows) < 3:
        raise DataError(f"{path}: {max(0, len(rows) - 1)} images; two at least are needed")
    table = []
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            raise DataError(f"{path}: row {number} has {len(row)} fields for {len(header)} columns")
        label = row[label_column].strip()
        if not label:
            raise DataError(f"{path}: row {number} has no label; give it one or take it out")
        table.append(
            (row[file_column].strip(), label, row[split_column].strip().lower() if split_column is not None else "")
        )
    return table


def _column(header: list[str], names: tuple[str, ...], path: Path) -> int:
    for name in names:
        if name in header:
            return header.index(name)
    raise DataError(f"{path}: no column {' or '.join(names)}; its header has {', '.join(header) or 'nothing'}")


def _in_class_order(labels: set[str]) -> list[str]:
    if all(label.lstrip("-").isdecimal() for label in labels):
        return sorted(labels, key=lambda label: (int(label), label))
    return sorted(labels)
