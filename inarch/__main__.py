"""``python -m inarch``: the same as the ``inarch`` command."""

import sys

from inarch.cli import main

if __name__ == "__main__":
    sys.exit(main())
