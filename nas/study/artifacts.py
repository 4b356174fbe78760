"""Trained weights in a study's folder, within a budget: ``weights/<key>@<fidelity>.safetensors``.

Weights are a by-product: a search that cannot keep them goes on without, and says so in a note.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.candidates.fidelity import exact_fraction
from nas.study.study import Study

if TYPE_CHECKING:
    from torch import Tensor

ARTIFACT_NOTE = "artifact_"
"""Before a candidate's key: the note on its weights."""

_FOLDER = "weights"
_ENDING = ".safetensors"
_FILE_NAME = re.compile(r"(?P<key>.+)@(?P<fidelity>\d+(_\d+)?)(\.(?P<ordinal>\d+))?\.safetensors")
_LONGEST_KEY = 120  # characters of a key in a file's name
_STALE_S = 3600.0  # after which a file that nobody finished is taken for a dead process's
_LARGEST_HEADER = 100_000_000  # bytes, the format's own limit


class ArtifactError(ValueError):
    """Weights that are no safetensors file, or damaged."""


@dataclass(frozen=True)
class _Weights:
    """A file of weights, by its name."""

    path: Path
    key: str  # as in file names
    fidelity: Fraction
    ordinal: int
    size_bytes: int
    modified_ns: int


class WeightStore:
    """The trained weights of one study, in ``folder/weights``, which is made when the first are kept.

    ``folder`` is the study's folder, ``directory/name`` for studies in a database too. ``budget_mib`` bounds what
    ``prune`` leaves; with 0 nothing is ever written. Files appear whole or not at all.
    """

    def __init__(self, folder: Path, budget_mib: float) -> None:
        if not budget_mib >= 0:
            raise ValueError(f"the budget for weights must be 0 MiB or more, not {budget_mib}")
        self.folder = folder
        self._weights_folder = folder / _FOLDER
        self._budget_bytes = budget_mib * 2**20

    def put(
        self,
        key: str,
        fidelity: float,
        content: bytes,
        *,
        ordinal: int = 0,
        metadata: Mapping[str, str] | None = None,
    ) -> Path | None:
        """Keep the weights of a candidate's training number ``ordinal``, in place of earlier ones of it.

        ``content`` is a safetensors file, to whose own metadata ``metadata`` is added. ``None`` where it is larger than
        the budget. Raises ``ArtifactError`` for other content, ``OSError`` where the disk does not take it.
        """
        content = _with_metadata(content, metadata or {})
        if len(content) > self._budget_bytes:
            return None
        path = self._weights_folder / _file_name(key, fidelity, ordinal)
        self._weights_folder.mkdir(parents=True, exist_ok=True)
        _write_whole(path, content)
        return path

    def path(self, key: str, fidelity: float = 1.0) -> Path | None:
        """The weights of a candidate at that fidelity, of its first training that has some; ``None`` without any."""
        wanted = (_key_text(key), exact_fraction(fidelity))
        found = [weights for weights in self._stored() if (weights.key, weights.fidelity) == wanted]
        return min(found, key=lambda weights: weights.ordinal).path if found else None

    def prune(self, keep: Sequence[str] = ()) -> list[Path]:
        """Delete what is over the budget, and what dead processes left half written; the weights deleted.

        Those of the candidates ``keep`` stay first, in that order, then the most recent. Of one candidate the longest
        training comes first.
        """
        self._remove_stale()
        rank = {_key_text(key): place for place, key in reversed([*enumerate(keep)])}

        def by_worth(weights: _Weights) -> tuple[int, int, Fraction, int, str]:
            place = rank.get(weights.key, len(rank))
            recency = 0 if weights.key in rank else -weights.modified_ns
            return place, recency, -weights.fidelity, weights.ordinal, weights.path.name

        room = self._budget_bytes
        deleted = []
        for weights in sorted(self._stored(), key=by_worth):
            if weights.size_bytes <= room:
                room -= weights.size_bytes
            else:
                weights.path.unlink(missing_ok=True)
                deleted.append(weights.path)
        return deleted

    def _stored(self) -> list[_Weights]:
        stored = []
        for path in sorted(self._weights_folder.glob(f"*{_ENDING}")):
            match = _FILE_NAME.fullmatch(path.name)
            if match is None:
                continue  # a file of somebody else's
            with suppress(FileNotFoundError):  # another process prunes too
                status = path.stat()
                stored.append(
                    _Weights(
                        path,
                        match["key"],
                        Fraction(match["fidelity"].replace("_", "/")),
                        int(match["ordinal"] or 0),
                        status.st_size,
                        status.st_mtime_ns,
                    )
                )
        return stored

    def _remove_stale(self) -> None:
        for path in self._weights_folder.glob(".*.half"):
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > _STALE_S:
                    path.unlink()


def keep_weights(
    study: Study,
    store: WeightStore,
    key: str,
    fidelity: float,
    content: bytes,
    *,
    ordinal: int = 0,
    metadata: Mapping[str, str] | None = None,
    best: Sequence[str] | None = None,
) -> Path | None:
    """Put a candidate's weights into the store, and a note on them into the study: their path from its folder.

    ``best``: the candidates whose weights matter most by now, best first; with it the store is pruned at once.
    What goes wrong costs the weights and not the candidate: a full disk, or content that cannot be read, is a
    ``warning`` in the note. ``None`` where nothing was kept.
    """
    where = {"fidelity": str(exact_fraction(fidelity)), "ordinal": ordinal}
    try:
        path = store.put(key, fidelity, content, ordinal=ordinal, metadata=metadata)
        if best is not None:
            store.prune(best)
    except (OSError, ArtifactError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        with suppress(OSError):  # the study's disk may be that which is full
            study.note(ARTIFACT_NOTE + key, {**where, "warning": f"the weights were not kept: {reason}"})
        return None
    if path is None or not path.exists():
        return None
    study.note(ARTIFACT_NOTE + key, {**where, "artifact": path.relative_to(store.folder).as_posix()})
    return path


def read_artifact(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors by name, on the CPU, and the metadata beside them. Raises ``ArtifactError``."""
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118 - no mapping


def artifact_metadata(path: Path) -> dict[str, str]:
    """The metadata of weights, without reading a tensor. Raises ``ArtifactError``."""
    with _opened(path) as file:
        return dict(file.metadata() or {})


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    import safetensors

    try:
        with safetensors.safe_open(path, framework="pt", device="cpu") as file:
            yield file
    except (OSError, safetensors.SafetensorError) as error:
        raise ArtifactError(f"cannot read the weights {str(path)!r}: {error}") from None


def _file_name(key: str, fidelity: float, ordinal: int) -> str:
    fraction = str(exact_fraction(fidelity)).replace("/", "_")
    return f"{_key_text(key)}@{fraction}{f'.{ordinal}' if ordinal else ''}{_ENDING}"


def _key_text(key: str) -> str:
    """A key as file names have it: what no file system minds, and still different for different keys."""
    text = re.sub(r"[^A-Za-z0-9_-]", "_", key)[:_LONGEST_KEY]
    if text == key:
        return text
    return f"{text}-{hashlib.blake2b(key.encode(), digest_size=6).hexdigest()}"


def _write_whole(path: Path, content: bytes) -> None:
    """Write a file beside its place, then move it there."""
    descriptor, half = tempfile.mkstemp(prefix=f".{path.stem[:40]}.", suffix=".half", dir=path.parent)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(half, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(half)
        raise


def _with_metadata(content: bytes, metadata: Mapping[str, str]) -> bytes:
    """A safetensors file with more metadata.

    The format is the header's length in 8 bytes, the header as JSON, and the tensors, which are not touched. Raises
    ``ArtifactError``.
    """
    length = int.from_bytes(content[:8], "little")
    end = 8 + length
    if len(content) < 10 or length > _LARGEST_HEADER or end > len(content):
        raise ArtifactError("trained weights must come as a safetensors file; this is none, or is cut short")
    try:
        header: dict[str, Any] = json.loads(content[8:end])
        ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
        complete = end + max(ends, default=0) == len(content)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise ArtifactError(f"trained weights must come as a safetensors file; this has no header ({error})") from None
    if not complete:
        raise ArtifactError("the trained weights are cut short, or too long for their header")
    if not metadata:
        return content
    header["__metadata__"] = {**(header.get("__metadata__") or {}), **{n: str(v) for n, v in metadata.items()}}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # as the format asks, so that tensors are aligned
    return len(text).to_bytes(8, "little") + text + content[end:]
