"""Audit the standard library, steered from a second process: ``python packages/cascade-py/demo/steer.py``."""

import sys

try:
    from pyaudit.steered import main

    sys.exit(main())
except ModuleNotFoundError as missing:
    sys.exit(f"error: {missing}; run the demo where all that it needs is installed: nox -s demo-steer")
except KeyboardInterrupt:  # while the imports were under way
    sys.exit(130)
