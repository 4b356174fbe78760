"""The converter's own environment: litert-torch wants other packages than ``nas``, so it lives apart.

``NAS_LITERT_TORCH_PYTHON`` names a Python that has litert-torch; without it there is one under the user's cache folder,
which ``python -m search_spaces.export.converters --install`` makes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from search_spaces.export.converters.exported import ConversionError

PYTHON_VARIABLE = "NAS_LITERT_TORCH_PYTHON"
INSTALL_COMMAND = "python -m search_spaces.export.converters --install"
CONSTRAINTS = Path(__file__).with_name("litert_constraints.txt")
REQUIREMENTS = ("litert-torch==0.10.0", "ai-edge-quantizer==0.10.0", "torch==2.13.0")
_FOLDER = "litert-torch-0.10.0"
_PROBE = "from importlib.metadata import version; version('litert-torch'), version('ai-edge-quantizer')"
_PROBE_S = 60.0


class ConverterMissing(ConversionError):
    """There is no Python with litert-torch; the message has the command that makes one."""


def environment_folder() -> Path:
    """Where the environment is kept: ``$XDG_CACHE_HOME``, else ``~/.cache``, then ``nas/litert-torch-0.10.0``."""
    cache = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(cache) if Path(cache).is_absolute() else Path.home() / ".cache") / "nas" / _FOLDER


def _python_of(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _check_converter(python: Path, error_prefix: str) -> Path:
    """``python`` where it runs and has the packages; ``error_prefix`` begins the error."""
    if not python.is_file() or not os.access(python, os.X_OK):
        raise ConverterMissing(
            f"{error_prefix}, which is no program; {INSTALL_COMMAND} makes one that is found without it"
        )
    try:
        result = subprocess.run(  # noqa: S603 - the user's own choice of a Python, no shell
            [str(python), "-I", "-c", _PROBE],
            capture_output=True,
            timeout=_PROBE_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConverterMissing(
            f"{error_prefix}, which does not run ({type(error).__name__}); {INSTALL_COMMAND}"
        ) from None
    if result.returncode != 0:
        raise ConverterMissing(f"{error_prefix}, which lacks litert-torch or ai-edge-quantizer; {INSTALL_COMMAND}")
    return python


def converter_python() -> Path:
    """The Python that has litert-torch and ai-edge-quantizer. Raises ``ConverterMissing`` with what to do."""
    configured_python = os.environ.get(PYTHON_VARIABLE, "")
    if configured_python:
        return _check_converter(
            Path(configured_python).absolute(), f"litert: {PYTHON_VARIABLE} names {configured_python}"
        )
    python = _python_of(environment_folder())
    if not python.is_file():
        raise ConverterMissing(
            f"litert: the converter is not installed; {INSTALL_COMMAND} makes an environment of its own (2 GB) in "
            f"{environment_folder()}, or set {PYTHON_VARIABLE} to a Python that has litert-torch"
        )
    return _check_converter(python, f"litert: the converter is {python}")


def _run(command: Sequence[str], progress: Callable[[str], None]) -> None:
    """Run a command and pass its lines to ``progress``. Raises ``ConversionError`` with the last of them."""
    last: deque[str] = deque(maxlen=3)
    with subprocess.Popen(  # noqa: S603 - our own arguments, no shell
        list(command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True,
        errors="replace",
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            last.append(line.strip()[:300])
            progress(last[-1])
    if process.returncode != 0:
        raise ConversionError(f"litert: {' '.join(command[1:4])} ended with {process.returncode}: {' '.join(last)}")


def make_environment(progress: Callable[[str], None], *, python: Path | None = None) -> Path:
    """Make the environment with the versions of ``litert_constraints.txt``; its Python. Some minutes, 2 GB.

    ``progress`` gets every line of pip's. ``python`` is what the environment is made with, this one by default. An
    environment that is there and works is kept. One that fails half way leaves nothing; two at once do not disturb each
    other. pip reads its own settings, so ``PIP_EXTRA_INDEX_URL`` may name PyTorch's index of CPU builds. Raises
    ``ConversionError`` with what pip said last.
    """
    folder = environment_folder()
    if _python_of(folder).is_file():
        try:
            return _check_converter(_python_of(folder), "litert: the environment")
        except ConverterMissing:
            progress(f"{folder} does not work and is made again")
            shutil.rmtree(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        new_environment = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f"{_FOLDER}."))
    except OSError as error:
        raise ConversionError(f"litert: {folder.parent} cannot be written: {error.strerror}") from None
    try:
        _run([str(python or sys.executable), "-m", "venv", str(new_environment)], progress)
        pip = [str(_python_of(new_environment)), "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
        _run([*pip, "-c", str(CONSTRAINTS), *REQUIREMENTS], progress)
        _check_converter(_python_of(new_environment), "litert: the environment")
        try:
            new_environment.rename(folder)
        except OSError:  # another was faster
            _check_converter(_python_of(folder), "litert: the environment")
    finally:
        shutil.rmtree(new_environment, ignore_errors=True)
    return _python_of(folder)
