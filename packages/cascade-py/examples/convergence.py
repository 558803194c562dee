"""A loop until convergence: a task that returns its own next step.

The square root of a number by Newton's method. ``improve`` returns a value when it is close enough,
else another call of itself, which takes its place in the run: each step is seen, can be paused
and tried again like any task, and a loop of a million steps needs no more memory than one of ten.

    python convergence.py 2
"""

import sys

import cascade as cs


@cs.task(mode="inline")
def improve(number: float, guess: float, step: int = 0) -> object:
    """Return the root and how many steps it took, or the next step."""
    better = (guess + number / guess) / 2
    if abs(better - guess) < 1e-12 * better:
        return better, step
    return improve(number, better, step + 1)


@cs.task(mode="inline")
def report(found: tuple[float, int]) -> str:
    """Tell what was found; a task that needs the loop's result need not know that it is one."""
    root, steps = found
    return f"{root:.9f} after {steps} steps"


if __name__ == "__main__":
    number = float(sys.argv[1]) if len(sys.argv) > 1 else 2.0
    print(cs.run(report(improve(number, guess=number))))
