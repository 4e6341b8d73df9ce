"""Other readers of CloudTrail files beside this one, on the same files, in one run: `make bench-compare`.

Each is a process that reads a gzip file, finds CloudHSM's calls and counts them, as one would write it with that tool.
They take turns, round after round, so that other load on the machine affects all alike, and what counts is the ratio
of medians. Python packages and rsigma are pinned, in target/tools; Node, jq and zcat are the machine's own. A reader
that is not installed is named in the table.
"""

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from tools import ROOT, TOOLS

FILES = ROOT / "target" / "bench" / "files"
# Not where the programs are: cargo would put those of the bench's profile, which are ten times as large, in the
# place of the ones that are deployed.
BUILT = ROOT / "target" / "benches"
RSIGMA = TOOLS / "rsigma" / "bin" / "rsigma"
FAST_PYTHON = TOOLS / "bench" / "bin" / "python"
OWN = "cloudhsm-alerts scan"

PYTHON_SOURCE = """
import {gzip} as gzip, {json} as json, sys
hits = 0
with gzip.open(sys.argv[1]) as file:
    for record in json.loads(file.read())["Records"]:
        if record.get("eventSource") in ("cloudhsm.amazonaws.com", "cloudhsmv2.amazonaws.com"):
            hits += 1
print(hits)
"""

NODE_SOURCE = """
const zlib = require("zlib"), fs = require("fs");
const records = JSON.parse(zlib.gunzipSync(fs.readFileSync(process.argv[1]))).Records;
const sources = ["cloudhsm.amazonaws.com", "cloudhsmv2.amazonaws.com"];
console.log(records.filter(r => sources.includes(r.eventSource)).length);
"""

JQ_FILTER = '[.Records[] | select(.eventSource == ("cloudhsm.amazonaws.com", "cloudhsmv2.amazonaws.com"))] | length'
RSIGMA_PIPE = 'gzip -dc "$3" | jq -c ".Records[]" | "$1" engine eval --rules "$2"'


def first_line(*command: str) -> str:
    if not shutil.which(command[0]):
        return command[0]
    return subprocess.run(command, capture_output=True, text=True).stdout.partition("\n")[0].strip()


def readers(program: Path, bench: Path) -> dict[str, list[str | Path] | None]:
    """Commands by name, to be run with a file; None where something is missing."""

    def if_there(*command: str | Path, needs: tuple[str | Path, ...]) -> list[str | Path] | None:
        return list(command) if all(map(shutil.which, needs)) else None

    python = f"Python {platform.python_version()}"
    fast_source = PYTHON_SOURCE.format(gzip="isal.igzip", json="orjson")
    slow_source = PYTHON_SOURCE.format(gzip="gzip", json="json")
    rules = ROOT / "rules" / "cloudhsm"
    return {
        "inflating alone (flate2, zlib-rs)": [bench, "limit"],
        OWN: [program, "scan", "--format", "text", "--min-severity", "critical"],
        "zcat alone": if_there("zcat", needs=("zcat",)),
        f"{python}, isal 1.9.1 and orjson 3.13.0": if_there(FAST_PYTHON, "-c", fast_source, needs=(FAST_PYTHON,)),
        f"Node {first_line('node', '--version')}, zlib and JSON.parse": if_there(
            "node", "-e", NODE_SOURCE, needs=("node",)
        ),
        f"{python}, gzip and json": [sys.executable, "-c", slow_source],
        f"gzip and {first_line('jq', '--version')}": if_there(
            "sh", "-c", 'gzip -dc "$2" | jq "$1"', "sh", JQ_FILTER, needs=("gzip", "jq")
        ),
        "gzip, jq and rsigma 0.23.0 with the CloudHSM rules (make tools-rsigma)": if_there(
            "sh", "-c", RSIGMA_PIPE, "sh", RSIGMA, rules, needs=("gzip", "jq", RSIGMA)
        ),
    }


def once(command: list[str | Path], file: Path | None = None) -> tuple[float, int]:
    """Seconds of one run, and the peak resident KiB of its largest process."""
    start = time.perf_counter()
    arguments = [*command, file] if file else command
    child = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        sys.exit(f"failed: run it by hand: {arguments}")
    return seconds, usage.ru_maxrss


def bench_program() -> Path:
    """Builds the bench that writes the files and inflates alone; returns its path."""
    command = ["cargo", "bench", "--locked", "--target-dir", BUILT, "--bench", "ratio", "--no-run"]
    built = subprocess.run([*command, "--message-format", "short"], cwd=ROOT, text=True, stderr=subprocess.PIPE)
    for line in built.stderr.splitlines():
        if "Executable" in line and "ratio" in line:
            return ROOT / line[line.rindex("(") + 1 : line.rindex(")")]
    sys.exit(f"cargo did not build the bench:\n{built.stderr}")


def write_files(bench: Path) -> None:
    """The generated files: the same bytes each time."""
    FILES.mkdir(parents=True, exist_ok=True)
    subprocess.run([bench, "write", FILES], cwd=ROOT, check=True)


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else platform.machine()


def compare(kind: str, known: dict[str, list[str | Path] | None], rounds: int) -> None:
    file = next((FILES / kind).iterdir())
    print(f"\n{kind}: {file.stat().st_size / 1e6:.1f} MB compressed\n")
    # A new process counts this one's memory as its own until it has become another program.
    own_peak = once(["true"])[1]
    print(f"| reader | ms | times {OWN} | peak MiB |\n|---|---:|---:|---:|")
    there = {name: command for name, command in known.items() if command}
    times: dict[str, list[float]] = {name: [] for name in there}
    peaks = dict.fromkeys(there, 0)
    for turn in range(rounds + 1):
        for name, command in there.items():
            seconds, peak = once(command, file)
            # The first round fills the caches.
            if turn > 0:
                times[name].append(seconds)
                peaks[name] = max(peak, peaks[name])
    own = statistics.median(times[OWN])
    for name in known:
        if name in there:
            median = statistics.median(times[name])
            at_most = "<= " if peaks[name] <= 1.05 * own_peak else ""
            print(f"| {name} | {median * 1e3:.1f} | {median / own:.2f} | {at_most}{peaks[name] / 1024:.0f} |")
        else:
            print(f"| {name} | not installed | | |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--program", type=Path, default=ROOT / "target" / "release" / "cloudhsm-alerts")
    parser.add_argument("--kinds", nargs="*", default=["typical", "large"])
    arguments = parser.parse_args()
    if not arguments.program.exists():
        sys.exit(f"{arguments.program} is not there: run `make build`")
    bench = bench_program()
    write_files(bench)
    print(f"{time.strftime('%Y-%m-%d')}, {platform.machine()}, {processor()}, {arguments.rounds} rounds, medians")
    known = readers(arguments.program, bench)
    for kind in arguments.kinds:
        compare(kind, known, arguments.rounds)


if __name__ == "__main__":
    main()
