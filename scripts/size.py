"""How large the function is, as a program and zipped as Lambda takes it: `make size`. Fails above a tenth more than
what was measured last (11.17 MB and 5.29 MB), so that a dependency that grows is noticed."""

import sys
import tempfile
from pathlib import Path

from package import ROOT, pack

PROGRAM = ROOT / "target" / "release" / "bootstrap"
MOST_PROGRAM, MOST_ZIPPED = 12_290_000, 5_820_000


def sizes(program: Path) -> tuple[int, int]:
    with tempfile.NamedTemporaryFile() as archive:
        pack(program, Path(archive.name))
        return program.stat().st_size, Path(archive.name).stat().st_size


def line(program: int, zipped: int) -> str:
    return f"program {program / 1e6:.2f} MB, zipped {zipped / 1e6:.2f} MB"


def main() -> None:
    if not PROGRAM.exists():
        sys.exit(f"{PROGRAM} is not there: run `make build`")
    program, zipped = sizes(PROGRAM)
    print(line(program, zipped))
    if program > MOST_PROGRAM or zipped > MOST_ZIPPED:
        most = line(MOST_PROGRAM, MOST_ZIPPED)
        sys.exit(f"at most {most}: see what grew (`cargo tree`, `nm --size-sort`), or raise the limit with a reason")


if __name__ == "__main__":
    main()
