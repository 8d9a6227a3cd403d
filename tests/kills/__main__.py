"""Writers killed at random moments: what stays is the old or the new, whole, and the next run works.

    python -m tests.kills 100                     a hundred kills of each command that writes
    python -m tests.kills 20 relabel pack         of these alone
    python -m tests.kills 20 --two-renames        where folders can't be exchanged in one step

Each round forks a process that runs the command and is killed by SIGKILL, half of them after a random time, half of
them before a random change of a file system entry. The libraries are imported before, and the export's traces made, so
that nearly all of a round's time is the command's own work.
"""

from __future__ import annotations

import argparse
import os
import sys
import time

from tests.kills.kinds import KINDS
from tests.kills.rounds import kill_rounds


def command() -> None:
    """Kill as the command line says, and print how it went."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rounds", type=int)
    parser.add_argument("kinds", nargs="*", choices=[[], *KINDS], default=list(KINDS))
    parser.add_argument("--two-renames", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    for name in given.kinds:
        begin, states = time.monotonic(), []
        child = os.fork()  # each with its own libraries and hooks
        if child == 0:
            status = 1
            try:
                for line in kill_rounds(KINDS[name], given.rounds, given.seed, two_renames=given.two_renames):
                    states.append(line.partition(": ")[2].partition(",")[0])
                    print(line, file=sys.stderr, flush=True)
                took = time.monotonic() - begin
                counts = f"{states.count('old')} old, {states.count('new')} new"
                print(f"{name}: {given.rounds} kills, {counts}, none broken, {took:.0f} s", flush=True)
                status = 0
            except Exception as error:
                print(f"{name}: BROKEN: {type(error).__name__}: {error}", flush=True)
            finally:
                os._exit(status)
        if os.waitpid(child, 0)[1]:
            sys.exit(1)


if __name__ == "__main__":
    command()
