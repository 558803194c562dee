"""Import what the arguments name; print its seconds of CPU time and the peak memory in bytes.

It is run as a file, with ``-P``, by the Python of any environment.
"""

import sys
import time

began = time.process_time()
for name in sys.argv[1:]:
    __import__(name)
taken = time.process_time() - began

sys.path.append(__file__.rsplit("figures", 1)[0])
from figures.memory import peak_memory  # noqa: E402 - nothing else may be imported before

print(taken, peak_memory())
