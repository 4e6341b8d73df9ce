"""Installs the pinned tools of this project, one virtual environment each: `python3 scripts/tools.py moto sam`.

tools/NAME.txt lists every package of a tool with its version and the checksums of its files. target/tools/NAME is made
from that list, and again when the list, the interpreter or the place has changed. Only the standard library: this file
runs before anything is installed.
"""

import argparse
import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / "target" / "tools"
OLDEST_PYTHON = (3, 11)


def architecture() -> str:
    """The instruction set of this machine, as Lambda calls it."""
    return {"x86_64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}[platform.machine()]


def ensure(name: str) -> None:
    """Installs a tool if it is missing or out of date."""
    folder, pins = TOOLS / name, ROOT / "tools" / f"{name}.txt"
    TOOLS.mkdir(parents=True, exist_ok=True)
    with (TOOLS / f"{name}.lock").open("w") as lock:
        # Another process that installs the same tool is waited for.
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp = folder / ".made-from"
        # The programs of an environment name their interpreter by its full path: a moved one is broken.
        lines = [line.strip() for line in pins.read_text().splitlines() if line and not line.startswith("#")]
        checksum = hashlib.sha256("\n".join(lines).encode()).hexdigest()
        made_from = f"{checksum}\n{sys.executable} {platform.python_version()}\n{folder}\n"
        if not (stamp.is_file() and stamp.read_text() == made_from):
            print(f"tools: installing {name} (up to a minute) ...", file=sys.stderr, flush=True)
            install(folder, pins)
            # Last, so that an interrupted installation is not taken for a complete one.
            stamp.write_text(made_from)
        if name == "sam":
            copy_rie(folder)


def install(folder: Path, pins: Path) -> None:
    # Neither a PYTHONPATH nor an active environment of the user's.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    pip = [folder / "bin" / "python", "-m", "pip", "--disable-pip-version-check"]
    # No package that the list does not name, no file with another checksum, and no package's build script.
    exactly = ["--no-deps", "--require-hashes", "--only-binary", ":all:"]
    for command in (
        [sys.executable, "-m", "venv", "--clear", folder],
        [*pip, "install", "--quiet", *exactly, "--requirement", pins],
        [*pip, "--quiet", "check"],
    ):
        subprocess.run(command, env=environment, stdout=sys.stderr, check=True)


def copy_rie(folder: Path) -> None:
    """The Runtime Interface Emulator is a static Linux program inside SAM's wheel."""
    rie = TOOLS / "rie"
    (packed,) = folder.glob(f"lib/python*/site-packages/samcli/local/rapid/aws-lambda-rie-{architecture()}")
    if rie.is_file() and rie.stat().st_mtime_ns >= packed.stat().st_mtime_ns:
        return
    unfinished = rie.with_suffix(".new")
    shutil.copyfile(packed, unfinished)
    unfinished.chmod(0o755)
    # At once: a test may be starting the old one this moment.
    unfinished.replace(rie)


def main() -> None:
    known = sorted(path.stem for path in (ROOT / "tools").glob("*.txt"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", choices=known)
    names = parser.parse_args().names
    if sys.version_info < OLDEST_PYTHON:
        sys.exit(f"tools: this is Python {platform.python_version()}, too old: make PYTHON=python3.11")
    for name in names:
        try:
            ensure(name)
        except subprocess.CalledProcessError as error:
            hint = "; on Debian and Ubuntu it needs the package python3-venv" if "venv" in error.cmd else ""
            sys.exit(f"tools: cannot install {name} (exit code {error.returncode}){hint}")


if __name__ == "__main__":
    main()
