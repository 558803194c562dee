"""``python -m cascade.cli`` is the command ``cascade``."""

import sys

from cascade.cli.main import main

sys.exit(main())
