"""These tests share the document of the wire: put their folder where Python finds it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
