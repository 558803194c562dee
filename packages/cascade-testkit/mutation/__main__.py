"""Print which random mutants of the sources no test notices: ``python packages/cascade-testkit/mutation``."""

import sys

from mutating.command import main

try:
    sys.exit(main())
except KeyboardInterrupt:
    sys.exit(130)
