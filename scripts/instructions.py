"""Instructions that each stage takes for a byte of JSON, counted by valgrind's callgrind: unlike a time,
the count is the same on a machine that does other things, so that a change of one in a hundred shows.

`make bench` runs it after the timings.
"""

import gzip
import re
import shutil
import subprocess
import sys
from pathlib import Path

from bench_compare import FILES, ROOT, bench_program

STAGES = ["inflate", "split", "look up", "whole", "parse all", "match all"]


def instructions(bench: Path, stage: str, file: Path) -> int:
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", bench, "once", stage, file]
    counted = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=True)
    return int(re.search(r"Collected : (\d+)", counted.stderr)[1])


def main() -> None:
    if not shutil.which("valgrind"):
        sys.exit("instructions are not counted: valgrind is not installed (Debian's package valgrind)")
    bench = bench_program()
    file = next((FILES / "typical").iterdir())
    size = len(gzip.decompress(file.read_bytes()))
    # Starting the program and loading the rules is the same for every stage.
    start = instructions(bench, "nothing", file)
    print(f"\ninstructions for a byte of JSON, {file.name}\n  {'stage':<10} {'a byte':>8} {'ratio':>7}")
    limit = None
    for stage in STAGES:
        count = instructions(bench, stage, file) - start
        limit = limit or count
        print(f"  {stage:<10} {count / size:>8.2f} {count / limit:>7.2f}")


if __name__ == "__main__":
    main()
