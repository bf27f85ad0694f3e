"""``python -m web``: the command line; without arguments the demo."""

import sys

from web.cli import main

if __name__ == "__main__":
    sys.exit(main())
