"""Print the project's figures as ratios within one run: ``python packages/cascade-py/benchmarks``."""

import sys

from figures.command import main

try:
    sys.exit(main())
except ModuleNotFoundError as missing:
    sys.exit(f"error: {missing}; run it where all that it needs is installed: nox -s bench -- --peers")
except KeyboardInterrupt:
    sys.exit(130)
