#!/usr/bin/env python3
"""The function's program as the zip that Lambda takes, byte for byte the same for the same
program: no time, no owner, no order of a file system gets into it.

    python3 scripts/package.py x86_64 target/package/x86_64/bootstrap
"""

import hashlib
import re
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def version():
    return re.search(r'^version = "([^"]+)"', (ROOT / "Cargo.toml").read_text(), re.MULTILINE).group(1)


def pack(program, archive):
    # The earliest time that a zip can hold.
    entry = zipfile.ZipInfo("bootstrap", date_time=(1980, 1, 1, 0, 0, 0))
    entry.create_system = 3
    entry.external_attr = 0o100755 << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(str(archive), "w") as packed:
        packed.writestr(entry, program.read_bytes(), compresslevel=9)


def main(architecture, program):
    program = Path(program)
    archive = ROOT / "target" / "package" / "cloudhsm-alerts-{}-{}.zip".format(version(), architecture)
    pack(program, archive)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    archive.with_suffix(".zip.sha256").write_text("{}  {}\n".format(digest, archive.name))
    print("{}: {:,} bytes, {:,} unpacked\nsha256 {}".format(
        archive.relative_to(ROOT), archive.stat().st_size, program.stat().st_size, digest
    ))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
