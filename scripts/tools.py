#!/usr/bin/env python3
"""The pinned tools of this project, one virtual environment each.

`tools/<name>.txt` lists every package of a tool with its version and the checksums of its
files, the packages it needs included. `ensure(name)` makes `target/tools/<name>` from that list, and does
nothing while the list, the interpreter and the place are those it was made from.
Only the standard library: this file runs before anything is installed.

    python3 scripts/tools.py moto sam ministack
"""

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PINS = ROOT / "tools"
TOOLS = ROOT / "target" / "tools"
RIE = TOOLS / "rie"

# What the pinned versions ask for, newest first.
PYTHONS = ["python3.14", "python3.13", "python3.12", "python3.11"]
OLDEST_PYTHON = (3, 11)


class ToolsError(Exception):
    """Why a tool could not be made, in words for the person at the terminal."""


def say(text):
    print(text, file=sys.stderr, flush=True)


def ensure(name):
    """Makes the tool's environment if it is missing or out of date; returns its folder."""
    pins = PINS / (name + ".txt")
    if not pins.is_file():
        known = ", ".join(sorted(path.stem for path in PINS.glob("*.txt")))
        raise ToolsError("no tool is called {}: there are {}".format(name, known))
    folder = TOOLS / name
    TOOLS.mkdir(parents=True, exist_ok=True)
    with locked(TOOLS / (name + ".lock")):
        stamp = folder / ".made-from"
        python = interpreter()
        wanted = made_from(folder, pins, python)
        if not (stamp.is_file() and stamp.read_text() == wanted):
            install(folder, pins, python)
            # Last, so that an interrupted install is never taken for a whole one.
            stamp.write_text(wanted)
        if name == "sam":
            copy_rie(folder)
    return folder


def interpreter():
    """This interpreter, or a newer one on PATH if this is too old for the pins."""
    if sys.version_info >= OLDEST_PYTHON:
        return sys.executable
    for name in PYTHONS:
        # A version manager leaves names behind whose interpreter is not there.
        if shutil.which(name) and subprocess.run([name, "-c", ""], stderr=subprocess.DEVNULL).returncode == 0:
            return shutil.which(name)
    raise ToolsError(
        "the pinned tools need Python {}.{} or newer, and this is {}: "
        "install one, or name it: make PYTHON=/path/to/python3".format(*OLDEST_PYTHON, platform.python_version())
    )


def made_from(folder, pins, python):
    """What an environment depends on. The place is part of it: the programs in an
    environment name their interpreter by its full path, so a moved one is broken."""
    digest = hashlib.sha256("\n".join(requirements(pins)).encode()).hexdigest()
    asked = run([python, "-c", "import platform; print(platform.python_version())"], None, "{} does not run".format(python))
    return "{}\n{} {}\n{}\n".format(digest, python, asked.strip(), folder)


def requirements(pins):
    lines = (line.strip() for line in pins.read_text().splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def install(folder, pins, base):
    packages = sum("==" in line for line in requirements(pins))
    say("tools: installing {} ({} packages, up to a minute) ...".format(folder.name, packages))
    # Someone's PYTHONPATH or active environment must not leak in.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    python = folder / "bin" / "python"
    run(
        [base, "-m", "venv", "--clear", str(folder)],
        environment,
        "could not make the virtual environment; on Debian and Ubuntu it needs the package python3-venv",
    )
    # Exactly the list: no package it does not name, no file with another checksum, and no
    # package's build script.
    run(
        [str(python), "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
        + ["--disable-pip-version-check", "--requirement", str(pins)],
        environment,
        "pip could not install {}".format(pins.relative_to(ROOT)),
    )
    run(
        [str(python), "-m", "pip", "check", "--disable-pip-version-check"],
        environment,
        "{} lacks a package on this machine".format(pins.relative_to(ROOT)),
    )


def copy_rie(folder):
    """The Runtime Interface Emulator is a static Linux program inside SAM's wheel."""
    machine = {"x86_64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}.get(platform.machine())
    found = list(folder.glob("lib/python*/site-packages/samcli/local/rapid/aws-lambda-rie-{}".format(machine)))
    if not found:
        raise ToolsError("SAM brings no Runtime Interface Emulator for {}".format(platform.machine()))
    if RIE.is_file() and RIE.stat().st_mtime_ns >= found[0].stat().st_mtime_ns:
        return
    unfinished = RIE.with_suffix(".new")
    shutil.copyfile(str(found[0]), str(unfinished))
    unfinished.chmod(0o755)
    # At once: a test may be starting the old one this moment.
    unfinished.replace(RIE)


def run(command, environment, hint):
    """Runs a command to its end; what it writes."""
    try:
        result = subprocess.run(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        )
    except OSError as error:
        raise ToolsError("{} ({}: {})".format(hint, command[0], error.strerror)) from None
    if result.returncode != 0:
        say(result.stdout.rstrip())
        raise ToolsError("{} (exit code {})".format(hint, result.returncode))
    return result.stdout


@contextmanager
def locked(path):
    """One process at a time makes a tool; another waits and finds it made."""
    with open(str(path), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main(names):
    try:
        for name in names:
            ensure(name)
    except (ToolsError, OSError) as error:
        say("tools: {}".format(error))
        return 1
    except KeyboardInterrupt:
        say("tools: stopped; what is unfinished is made anew the next time")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
