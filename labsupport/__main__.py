"""`python -m labsupport COMMAND …`: the lab's own commands, one line each in COMMANDS.

A command lives in a module with a function `main(arguments: list[str]) -> int | None`, or one of another
name. The module is imported only when its command is called, so that a broken or heavy room never stands in
the way of the others.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Command:
    """One word after `python -m labsupport`: where its `main` lives, and what it does in a line."""

    module: str
    does: str
    function: str = "main"


COMMANDS = {
    "notebooks": Command("labsupport.course.notebooks", "run the chapters and store them normalised"),
    "measure": Command("labsupport.measure", "weigh this machine and write its profile"),
    "bench": Command(
        "labsupport.bench_page", "the bench on a page of its own: break a server, a network, a client"
    ),
    "students": Command("labsupport.course.editions", "derive the student's edition, to hand out"),
    "start": Command("labsupport.course.editions", "copy the student's edition to work in", "start"),
    "site": Command("labsupport.course.site.build", "build the course as static pages"),
    "grade": Command("labsupport.course.grading.command", "grade what students have handed in"),
    "nbgrader": Command("labsupport.course.nbgrader_export", "write the exercises as a course for nbgrader"),
    "million": Command("labsupport.measure.million", "hold as many connections as this machine can"),
}


def usage() -> str:
    """The commands that exist, one a line."""
    width = max(map(len, COMMANDS))
    lines = [f"    python -m labsupport {name:<{width}}   {COMMANDS[name].does}" for name in sorted(COMMANDS)]
    return "\n".join(["The lab's commands (each one explains itself with --help):", "", *lines])


def main(arguments: list[str]) -> int:
    """Run the named command; without a name, or with --help, print what there is."""
    if not arguments or arguments[0] in {"-h", "--help", "help"}:
        print(usage())
        return 0
    name, *rest = arguments
    if name not in COMMANDS:
        print(f"There is no command '{name}'.\n\n{usage()}", file=sys.stderr)
        return 2
    run = getattr(importlib.import_module(COMMANDS[name].module), COMMANDS[name].function, None)
    if run is None:
        wanted = f"{COMMANDS[name].function}(arguments)"
        print(f"{COMMANDS[name].module} has no {wanted} to run '{name}' with.", file=sys.stderr)
        return 2
    return int(run(rest) or 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
