"""An Optuna journal file that survives its writer's death."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

_SYNC_EVERY_S = 1.0


def journal_backend(path: Path) -> Any:
    """A journal file that survives its writer's death at any moment.

    Optuna's own lock is a file that a killed writer leaves behind, and its reader refuses a line that a killed writer
    left half written. Here the lock is the kernel's, gone with its process, and such a line is cut off. Lines are
    flushed to the disk once a second rather than each: a killed process loses nothing, a power cut a second.
    """
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    try:
        import fcntl
    except ImportError:  # Windows: Optuna's own locking
        return JournalFileBackend(str(path))

    class KernelLock(JournalFileOpenLock):
        def __init__(self, file_path: str) -> None:
            super().__init__(file_path)
            self._descriptor = -1

        def acquire(self) -> bool:
            self._descriptor = os.open(self._lock_file, os.O_CREAT | os.O_RDWR, 0o644)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            return True

        def release(self) -> None:
            os.close(self._descriptor)

    class DurableJournal(JournalFileBackend):
        def __init__(self, file_path: str) -> None:
            self._kernel_lock = KernelLock(file_path)
            self._synced = time.monotonic()
            super().__init__(file_path, self._kernel_lock)
            self._cut_half_line()

        def _cut_half_line(self) -> None:
            self._kernel_lock.acquire()
            try:
                with open(self._file_path, "rb+") as file:
                    content = file.read()
                    end_of_last_line = content.rfind(b"\n") + 1
                    if end_of_last_line != len(content):
                        file.truncate(end_of_last_line)
            finally:
                self._kernel_lock.release()

        def append_logs(self, logs: list[dict[str, Any]]) -> None:
            lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode()
            self._kernel_lock.acquire()
            try:
                whole_bytes = os.path.getsize(self._file_path)
                try:
                    with open(self._file_path, "ab") as file:
                        file.write(lines)
                        if time.monotonic() - self._synced > _SYNC_EVERY_S:
                            file.flush()
                            os.fsync(file.fileno())
                            self._synced = time.monotonic()
                except OSError:  # a full disk takes a part of a line, onto which the next would be written
                    os.truncate(self._file_path, whole_bytes)
                    raise
            finally:
                self._kernel_lock.release()

    return DurableJournal(str(path))
