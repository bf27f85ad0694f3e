"""``python -m weblatch``: the command line."""

import sys

from weblatch import main

sys.exit(main())
