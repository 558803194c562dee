"""Audit the standard library of this Python, steered from a second process: ``python packages/cascade-py/demo``."""

import sys

try:
    from pyaudit.steered import main

    sys.exit(main())
except ModuleNotFoundError as missing:
    sys.exit(f"error: {missing}; run the demo where all that it needs is installed: nox -s demo")
except KeyboardInterrupt:  # while the imports were under way
    sys.exit(130)
