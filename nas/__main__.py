"""``python -m nas``."""

from nas.cli.main import main

main()
