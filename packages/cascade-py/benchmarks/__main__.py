"""Print the project's figures as ratios within one run: ``python packages/cascade-py/benchmarks``."""

import sys

from figures.command import main

sys.exit(main())
