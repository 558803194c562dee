"""Run a program as ``python PROGRAM ARGUMENTS`` would, then print its peak memory and its modules of Cascade as JSON."""

import sys

program = sys.argv.pop(1)
with open(program, encoding="utf-8") as file:  # noqa: PTH123 - pathlib would be loaded for nothing
    code = compile(file.read(), program, "exec")
exec(code, {"__name__": "__main__", "__file__": program})

import json  # noqa: E402 - nothing may be imported before the program

sys.path.append(__file__.rsplit("figures", 1)[0])
from figures.memory import peak_memory  # noqa: E402

ours = sum(name.partition(".")[0] == "cascade" for name in sys.modules)
print(json.dumps({"peak": peak_memory(), "modules": ours}))
