"""`python -m tests.simulation --seed N` replays one run and shows its story; without a seed it runs many."""

import argparse
import sys

from tests.simulation.world import simulate


def main() -> int:
    parser = argparse.ArgumentParser(prog="simulation")
    parser.add_argument("--seed", type=int, help="replay this run, and show what happens in it")
    parser.add_argument("--seeds", type=int, default=300, help="how many runs, where no seed is given")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    asked = parser.parse_args()
    if asked.seed is not None:
        world = simulate(asked.seed)
        print(world.story.text())
        print(*(world.auditor.objections or ["The auditor has no objections."]), sep="\n")
        return bool(world.auditor.objections)
    failed = 0
    for seed in range(asked.first, asked.first + asked.seeds):
        objections = simulate(seed).auditor.objections
        if objections:
            failed += 1
            print(f"seed {seed}: {objections[0]}" + (f" (and {len(objections) - 1} more)" if objections[1:] else ""))
    print(f"{asked.seeds} runs, {failed} with objections")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
