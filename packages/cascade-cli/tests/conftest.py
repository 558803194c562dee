"""These tests share a plant of engines in one process: put their folder where Python finds it."""

import sys
from pathlib import Path

from testing_tools.command_fixtures import no_settings, patient, patient_with_nats, plant

sys.path.insert(0, str(Path(__file__).parent))

__all__ = ["no_settings", "patient", "patient_with_nats", "plant"]
