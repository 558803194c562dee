"""These tests share a cluster without Dask: put their folder where Python finds it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
