"""How large the function is, as a program and zipped as Lambda takes it: `make size`. It fails at a tenth
above what was measured last (8.83 MB and 3.98 MB), so that a dependency that grows is noticed.
"""

import io
import pathlib
import sys
import zipfile

PROJECT = pathlib.Path(__file__).resolve().parent.parent
PROGRAM = PROJECT / "target" / "release" / "bootstrap"
MOST_PROGRAM, MOST_ZIPPED = 9_700_000, 4_400_000


def sizes(program):
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
        file.write(program, "bootstrap")
    return program.stat().st_size, package.tell()


def line(program, zipped):
    return "program {:.2f} MB, zipped {:.2f} MB".format(program / 1e6, zipped / 1e6)


def main():
    program, zipped = sizes(PROGRAM)
    print(line(program, zipped))
    if program > MOST_PROGRAM or zipped > MOST_ZIPPED:
        sys.exit("expected at most {}: see what grew (`cargo tree`, `nm --size-sort`), or raise the limit with a reason"
                 .format(line(MOST_PROGRAM, MOST_ZIPPED)))


if __name__ == "__main__":
    main()
