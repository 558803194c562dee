"""Audit the standard library of this Python with Cascade: ``python packages/cascade-py/demo``."""

import sys

try:
    from pyaudit.command import main
except ModuleNotFoundError as missing:
    sys.exit(f"error: {missing}; run the demo in an environment that has all it needs: nox -s demo")

if __name__ == "__main__":
    sys.exit(main())
