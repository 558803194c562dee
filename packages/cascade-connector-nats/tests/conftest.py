"""The tests of this package share what stands for a server: it is found here."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
