"""What an earlier release wrote, unpacked: studies and caches under ``tests/recorded``."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

RECORDED = Path(__file__).parents[1] / "recorded"


def unpack_release(release: str, folder: Path) -> None:
    """Put the files of a release's folder into ``folder``, those that end in ``.gz`` as they were."""
    source = RECORDED / f"release_{release}"
    for path in sorted(source.rglob("*")):
        target = folder / path.relative_to(source)
        if path.is_dir():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".gz":
            target.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        else:
            shutil.copy(path, target)
