"""`python -m labsupport measure`: weigh this machine and write its profile."""

import argparse
import asyncio
import sys
from collections.abc import Callable, Sequence

from labsupport.measure.machine import weigh
from labsupport.measure.sockets import LoadError
from labsupport.measure.weights import weigh_connections
from labsupport.processes import ServerError
from labsupport.profile import REFERENCE, Profile, ProfileError, connections_table, own_path, table


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0, or 1 when this machine could not be measured."""
    parser = argparse.ArgumentParser(
        prog="python -m labsupport measure",
        description="Weigh this machine in less than a minute, and write its profile. "
        "With LAB_PROFILE=mine the chapters and the planner then compute with it.",
    )
    parser.add_argument(
        "--reference",
        action="store_true",
        help="write the committed reference instead of your own profile (for those who keep the lab)",
    )
    options = parser.parse_args(argv)
    path = REFERENCE if options.reference else own_path()
    try:
        columns = {} if options.reference else {"reference": Profile.load(REFERENCE)}
        columns["this machine"] = asyncio.run(_weigh_all(lambda text: print(text, flush=True)))
        columns["this machine"].save(path)
    except (LoadError, ServerError, ProfileError, OSError) as error:
        print(f"This machine could not be measured: {error}", file=sys.stderr)
        return 1
    print(f"\n{table(columns)}\n\n{connections_table(columns)}\n\nwritten to {path}")
    if not options.reference:
        print('The chapters compute with it after LAB_PROFILE=mine, or use("mine") from labsupport.profile.')
    return 0


async def _weigh_all(progress: Callable[[str], None]) -> Profile:
    return await weigh_connections(await weigh(progress), progress)
