"""Audit the standard library, watched from a second process: ``python packages/cascade-py/demo/watch.py``."""

import sys

try:
    from pyaudit.command import main

    sys.exit(main())
except ModuleNotFoundError as missing:
    sys.exit(f"error: {missing}; run the demo where all that it needs is installed: nox -s demo-watch")
except KeyboardInterrupt:  # while the imports were under way
    sys.exit(130)
