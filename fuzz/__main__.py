"""`make fuzz`: every parser for SECONDS under atheris, TARGET=name for one.

What an input has to teach is kept in var/fuzz/NAME, so that the next run goes on from there. An input that breaks a
check is printed, kept beside it, and played again by `python -m fuzz NAME --play FILE`.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

from fuzz.seeds import seeds

FOUND = Path("var/fuzz")
LONGEST_INPUT = 4_096
SLOWEST_S = 10
"""An input that takes longer to read has found something, too."""

# Written out: targets that are imported before atheris looks would not be seen into.
NAMES = ("ami", "esl", "netstring", "call_control", "radius", "threecx", "http", "deck", "commands", "records")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz")
    parser.add_argument("target", nargs="?", choices=NAMES)
    parser.add_argument("--seconds", type=int, default=60, help="how long each runs")
    parser.add_argument("--play", type=Path, help="one input, without a fuzzer")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.play is not None and told.target is None:
        parser.error("--play: by which target?")
    if told.play is not None or told.here:
        _check(told.target, told.play, told.seconds)
        return 0
    broken = [name for name in NAMES if told.target in (None, name) and not _fuzzed(name, told.seconds)]
    print("fuzz:", f"broken: {', '.join(broken)}" if broken else "nothing found")
    return 1 if broken else 0


def _fuzzed(name: str, seconds: int) -> bool:
    """Whether it held. libFuzzer ends its process, so each has one of its own."""
    corpus = FOUND / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds(name)):
        (corpus / f"seed-{number}").write_bytes(seed)
    print(f"fuzz: {name}, {seconds} s", end="", flush=True)
    command = [sys.executable, "-m", "fuzz", name, "--here", "--seconds", str(seconds)]
    done = subprocess.run(command, check=False, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    tried = re.search(r"executed_units: (\d+)", done.stderr)
    print(f", {tried[1] if tried else 'no'} inputs", flush=True)
    if done.returncode:
        print(done.stderr.partition(" === ")[2] or done.stderr)
    return done.returncode == 0


def _check(name: str, played: Path | None, seconds: int) -> None:
    if played is not None:
        from fuzz.targets import TARGETS

        return TARGETS[name](played.read_bytes())
    import atheris

    with atheris.instrument_imports(include=["callctl", "pyrad"]):
        from fuzz.targets import TARGETS
    options = [
        f"-max_total_time={seconds}", f"-max_len={LONGEST_INPUT}", f"-timeout={SLOWEST_S}",
        f"-artifact_prefix={FOUND}/{name}-", "-print_final_stats=1", "-verbosity=0",
    ]  # fmt: skip
    atheris.Setup([name, *options, str(FOUND / name)], TARGETS[name])
    atheris.Fuzz()
    return None


if __name__ == "__main__":
    sys.exit(main())
