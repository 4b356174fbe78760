"""``python -m search_spaces.export.converters``: where the LiteRT converter is; ``--install`` makes its environment."""

from __future__ import annotations

import argparse
import sys

from search_spaces.export.converters.exported import ConversionError
from search_spaces.export.converters.litert_environment import converter_python, make_environment


def main(arguments: list[str] | None = None) -> int:
    """Print the converter's Python; 1 with an error line where there is none."""
    parser = argparse.ArgumentParser(prog="python -m search_spaces.export.converters", description=__doc__)
    parser.add_argument("--install", action="store_true", help="make the environment: some minutes, 2 GB")
    chosen = parser.parse_args(arguments)
    try:
        python = make_environment(lambda line: print(line, flush=True)) if chosen.install else converter_python()
    except ConversionError as error:
        print(error, file=sys.stderr)
        return 1
    print(python)
    return 0


if __name__ == "__main__":
    sys.exit(main())
