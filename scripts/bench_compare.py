"""Other readers of CloudTrail files beside this one, on the same files, in one run: `make bench-compare`.

Each is a process that reads a gzip file, finds CloudHSM's calls and counts them, as one would write it with that tool.
They take turns, round after round, so that other load on the machine affects all alike, and what counts is the ratio
of medians, first of all of processor time. Each count is compared with that of Python's own modules, and each reader is
tried on small files that are damaged or misleading. Python packages and rsigma are pinned, in target/tools; rg, Node,
jq and zcat are the machine's own. A reader that is not installed is named in the table.
"""

import argparse
import gzip
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tools import ROOT, TOOLS

FILES = ROOT / "target" / "bench" / "files"
# Not where the programs are: cargo would put those of the bench's profile, which are ten times as large, in the
# place of the ones that are deployed.
BUILT = ROOT / "target" / "benches"
RSIGMA = TOOLS / "rsigma" / "bin" / "rsigma"
BENCH_PYTHON = TOOLS / "bench" / "bin" / "python"
PYTHON = f"Python {platform.python_version()}"
OWN, REFERENCE = "`cloudhsm-alerts scan`", f"{PYTHON}, gzip and json"
Command = list[str | Path]

PYTHON_SOURCE = """
import {gzip} as gzip, {json} as json, sys
hits = 0
with gzip.open(sys.argv[1]) as file:
    for record in json.{parse}(file.read())["Records"]:
        if record.get("eventSource") in ("cloudhsm.amazonaws.com", "cloudhsmv2.amazonaws.com"):
            hits += 1
print(hits)
"""

# A log file is one JSON object, and DuckDB takes none beyond 16 MiB unless a larger limit is set.
DUCKDB_SOURCE = """
import duckdb, sys
duckdb.execute("SET enable_progress_bar = false")
calls = '''SELECT count(*) FROM (SELECT unnest(Records) AS record FROM read_json(?, maximum_object_size = 2000000000))
    WHERE record.eventSource IN ('cloudhsm.amazonaws.com', 'cloudhsmv2.amazonaws.com')'''
print(duckdb.execute(calls, [sys.argv[1]]).fetchone()[0])
"""

NODE_SOURCE = """
const zlib = require("zlib"), fs = require("fs");
const records = JSON.parse(zlib.gunzipSync(fs.readFileSync(process.argv[1]))).Records;
const sources = ["cloudhsm.amazonaws.com", "cloudhsmv2.amazonaws.com"];
console.log(records.filter(r => sources.includes(r.eventSource)).length);
"""

# rg ends with 1 if nothing matches.
RG = r"""rg -z --include-zero --count-matches '"eventSource":"cloudhsm(v2)?\.amazonaws\.com"' "$0" || [ $? = 1 ]"""
JQ_FILTER = '[.Records[] | select(.eventSource == ("cloudhsm.amazonaws.com", "cloudhsmv2.amazonaws.com"))] | length'
JQ = f"gzip -dc \"$0\" | jq '{JQ_FILTER}'"
RSIGMA_PIPE = 'gzip -dc "$2" | jq -c ".Records[]" | "$0" engine eval --rules "$1"'


def first_line(*command: str) -> str:
    if not shutil.which(command[0]):
        return command[0]
    return subprocess.run(command, capture_output=True, text=True).stdout.partition("\n")[0].strip()


def readers(program: Path, bench: Path) -> dict[str, Command | None]:
    """Commands by name, to be run with a file; None where something is missing."""

    def if_there(*command: str | Path, needs: str = "") -> Command | None:
        return list(command) if all(map(shutil.which, [command[0], *needs.split()])) else None

    def shell(script: str, *arguments: str | Path, needs: str) -> Command | None:
        return if_there("bash", "-o", "pipefail", "-c", script, *arguments, needs=needs)

    pins = dict(re.findall(r"^(\w+)==(\S+)", (ROOT / "tools" / "bench.txt").read_text(), re.MULTILINE))
    isal = f"{PYTHON}, isal {pins['isal']}"
    simdjson = PYTHON_SOURCE.format(gzip="isal.igzip", json="simdjson", parse="Parser().parse")
    orjson = PYTHON_SOURCE.format(gzip="isal.igzip", json="orjson", parse="loads")
    return {
        "inflating alone (flate2, zlib-rs)": [bench, "limit"],
        OWN: [program, "scan", "--format", "text", "--min-severity", "critical"],
        "zcat alone": if_there("zcat"),
        f"`rg -z`, {first_line('rg', '--version')} (Debian's package ripgrep)": shell(RG, needs="rg gzip"),
        f"{isal} and pysimdjson {pins['pysimdjson']}": if_there(BENCH_PYTHON, "-c", simdjson),
        f"{isal} and orjson {pins['orjson']}": if_there(BENCH_PYTHON, "-c", orjson),
        REFERENCE: [sys.executable, "-c", PYTHON_SOURCE.format(gzip="gzip", json="json", parse="loads")],
        f"{PYTHON}, DuckDB {pins['duckdb']}": if_there(BENCH_PYTHON, "-c", DUCKDB_SOURCE),
        f"Node {first_line('node', '--version')}, zlib and JSON.parse": if_there("node", "-e", NODE_SOURCE),
        f"gzip and {first_line('jq', '--version')}": shell(JQ, needs="gzip jq"),
        "gzip, jq and rsigma 0.23.0 with the CloudHSM rules (make tools-rsigma)": shell(
            RSIGMA_PIPE, RSIGMA, ROOT / "rules" / "cloudhsm", needs=f"gzip jq {RSIGMA}"
        ),
    }


def odd_files() -> dict[str, tuple[bytes, int | None, bool]]:
    """Small files, each by what a reader does not do that gets it wrong; with the calls to find, None if their number
    does not matter, and whether the reader should fail."""

    def text(*records: dict) -> bytes:
        return json.dumps({"Records": records}, separators=(",", ":")).encode()

    call = {"eventSource": "cloudhsm.amazonaws.com", "eventName": "DeleteBackup", "eventID": "1"}
    mention = {"eventSource": "s3.amazonaws.com", "eventName": "GetObject", "requestParameters": {"record": call}}
    one, both = text(call), text(call, mention)
    whole, spelled = gzip.compress(both), one.replace(b'"eventSource":"cloudhsm.', b'"eventSource": "cloudhsm\\u002e')
    return {
        "tell a mention from a call": (whole, 1, False),
        "find a call that is spelled in another valid way": (gzip.compress(spelled), 1, False),
        "read a file that begins with a byte order mark": (gzip.compress(b"\xef\xbb\xbf" + one), 1, False),
        "read a second member of the gzip file": (gzip.compress(one[:40]) + gzip.compress(one[40:]), 1, False),
        "compare the checksum": (whole[:-8] + bytes([whole[-8] ^ 1]) + whole[-7:], None, True),
        "report that the gzip file ends early": (whole[:-4], None, True),
        "report that the JSON ends early": (gzip.compress(one[:-2]), None, True),
        "report an element that is not a record": (gzip.compress(text(call, {"detail": call})), None, True),
        "report a damaged record and the call before it": (gzip.compress(both.replace(b'"s3.', b'"s3".')), 1, True),
    }


def answer(command: Command, file: Path) -> tuple[int | None, bool]:
    """How many calls a reader finds, None if it prints no number, and whether it fails."""
    alerts = command[1] == "scan"
    if alerts:
        # It does not count but alert: here of every call, one to a line.
        command = [*command[:2], "--format", "ocsf", "--min-severity", "informational"]
    done = subprocess.run([*command, file], capture_output=True, text=True, errors="replace")
    if alerts:
        evidence = [json.loads(line)["evidences"][0] for line in done.stdout.splitlines()]
        return sum(e["api"]["service"]["name"].startswith("cloudhsm") for e in evidence), done.returncode != 0
    return int(done.stdout) if done.stdout.strip().isdigit() else None, done.returncode != 0


def print_shortcomings(counting: dict[str, Command]) -> None:
    print("\nTried on small files that are damaged or misleading:\n\n| reader | does not |\n|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "odd.json.gz"
        for name, command in counting.items():
            wrong = []
            for what, (content, calls, fails) in odd_files().items():
                file.write_bytes(content)
                found, failed = answer(command, file)
                if failed != fails or (calls is not None and found != calls):
                    wrong.append(what)
            print(f"| {name} | {'; '.join(wrong) or 'nothing of what was tried'} |")
    print(f"\nOf these, only {OWN} evaluates rules, composes alerts and removes secrets.")


def once(command: Command) -> tuple[float, float, int]:
    """One run: milliseconds of processor time, of wall time, and the peak resident KiB of its largest process."""
    start = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        sys.exit(f"failed: run it by hand: {command}")
    return (usage.ru_utime + usage.ru_stime) * 1e3, seconds * 1e3, usage.ru_maxrss


def bench_program() -> Path:
    """Builds the bench that inflates alone, and lets it write the generated files; returns its path."""
    command = ["cargo", "bench", "--locked", "--target-dir", BUILT, "--bench", "ratio", "--no-run"]
    built = subprocess.run([*command, "--message-format", "short"], cwd=ROOT, text=True, stderr=subprocess.PIPE)
    found = re.search(r"Executable.*ratio.*\((.+)\)", built.stderr)
    if not found:
        sys.exit(f"cargo did not build the bench:\n{built.stderr}")
    FILES.mkdir(parents=True, exist_ok=True)
    subprocess.run([ROOT / found[1], "write", FILES], cwd=ROOT, check=True)
    return ROOT / found[1]


def processor() -> str:
    """Number and name of the processors, and the vector instructions that inflating and parsing make use of."""
    lines = [line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines()]
    found = {name.strip(): value.strip() for name, _, value in lines}
    features = found.get("flags", found.get("Features", "")).split()
    vectors = [name for name in features if re.fullmatch(r"sse4_2|avx2?|avx512\w+|v?pclmulqdq|asimd|sve2?", name)]
    return f"{os.cpu_count()} x {found.get('model name', platform.machine())} ({' '.join(vectors)})"


def compare(kind: str, known: dict[str, Command | None], rounds: int) -> dict[str, Command]:
    """Prints the table of one file; returns the readers that counted."""
    file = next((FILES / kind).iterdir())
    there = {name: command for name, command in known.items() if command}
    # This also fills the caches. What inflates alone prints bytes.
    counts = {name: None if "alone" in name else answer(command, file)[0] for name, command in there.items()}
    right = counts[REFERENCE]
    print(f"\n{kind}: {file.stat().st_size / 1e3:,.0f} KB compressed, {right} calls of CloudHSM\n")
    print("| reader | calls | one: processor ms | × | wall ms | all: processor ms | wall ms | × | peak MiB |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    # A new process counts this one's memory as its own until it has become another program.
    own_peak = once(["true"])[2]
    every = os.sched_getaffinity(0)
    runs: dict[str, list[list[float]]] = {name: [] for name in there}
    for _ in range(rounds):
        for name, command in there.items():
            os.sched_setaffinity(0, {max(every)})
            on_one = once([*command, file])
            os.sched_setaffinity(0, every)
            runs[name].append([*on_one, *once([*command, file])])
    medians = {name: list(map(statistics.median, zip(*measured, strict=True))) for name, measured in runs.items()}
    for name in known:
        if name not in there:
            print(f"| {name} | not installed | | | | | | | |")
            continue
        on_one, wall_on_one, _, on_all, wall_on_all, _ = medians[name]
        times, wall_times = on_one / medians[OWN][0], wall_on_all / medians[OWN][4]
        count, peak = counts[name], max(max(run[2], run[5]) for run in runs[name])
        calls = "–" if count is None else f"{count}" if count == right else f"{count}: {count - right:+} wrong"
        at_most = "<= " if peak <= 1.05 * own_peak else ""
        print(
            f"| {name} | {calls} | {on_one:.0f} | {times:.2f} | {wall_on_one:.0f} | {on_all:.0f} | {wall_on_all:.0f} "
            f"| {wall_times:.2f} | {at_most}{peak / 1024:.0f} |"
        )
    return {name: command for name, command in there.items() if counts[name] is not None}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--program", type=Path, default=ROOT / "target" / "release" / "cloudhsm-alerts")
    arguments = parser.parse_args()
    if not arguments.program.exists():
        sys.exit(f"{arguments.program} is not there: run `make build`")
    known = readers(arguments.program, bench_program())
    print(f"{time.strftime('%Y-%m-%d')}, {processor()}, medians of {arguments.rounds} rounds.")
    print(f"One: on one processor; all: on all. ×: times {OWN}, of processor time on one, of wall time on all.")
    for kind in ("typical", "large"):
        counting = compare(kind, known, arguments.rounds)
    print_shortcomings(counting)


if __name__ == "__main__":
    main()
