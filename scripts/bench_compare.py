"""Other readers of CloudTrail files beside this one, on the same files, in one run: `make bench-compare`.

Each is a process that reads a gzip file, finds CloudHSM's calls and counts them, as one would write it with
that tool. They take turns, round after round, so that whatever else the machine does meets all alike, and
what counts is the ratio of medians. What is installed for it is pinned and lies in target/tools; Node, jq
and zcat are the machine's own. A reader that is not there is named in the table.
"""

import argparse
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import time

import tools

PROJECT = pathlib.Path(__file__).resolve().parent.parent
FILES = PROJECT / "target" / "bench" / "files"
# Not where the programs are: cargo would put those of the bench's profile, which are ten times as large, in the
# place of the ones that are deployed.
BUILT = PROJECT / "target" / "benches"
RSIGMA = tools.TOOLS / "rsigma" / "bin" / "rsigma"
OWN = "cloudhsm-alerts scan"
LIMIT = "inflating alone (flate2, zlib-rs)"

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
console.log(records.filter(r => ["cloudhsm.amazonaws.com", "cloudhsmv2.amazonaws.com"].includes(r.eventSource)).length);
"""

JQ = 'gzip -dc "$1" | jq "[.Records[] | select(.eventSource == \\"cloudhsm.amazonaws.com\\" or .eventSource == \\"cloudhsmv2.amazonaws.com\\")] | length"'

RSIGMA_PIPE = 'gzip -dc "$1" | jq -c ".Records[]" | "$2" engine eval --rules "$3"'


def first_line(*command):
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return (result.stdout.splitlines() or [""])[0].strip()


def readers(program, bench):
    """Name to command, the file at its end; None where something is missing."""
    with_python = [sys.executable, "-c", PYTHON_SOURCE.format(gzip="gzip", json="json")]
    try:
        fast = [str(tools.ensure("bench") / "bin" / "python"), "-c"]
        fast.append(PYTHON_SOURCE.format(gzip="isal.igzip", json="orjson"))
    except tools.ToolsError as error:
        tools.say("tools: {}".format(error))
        fast = None
    node = ["node", "-e", NODE_SOURCE] if shutil.which("node") else None
    jq = ["sh", "-c", JQ, "sh"] if shutil.which("jq") and shutil.which("gzip") else None
    rsigma = ["sh", "-c", RSIGMA_PIPE, "sh"] if RSIGMA.exists() and jq else None
    return {
        LIMIT: [str(bench), "limit"],
        OWN: [str(program), "scan", "--format", "text", "--min-severity", "critical"],
        "zcat alone": ["zcat"] if shutil.which("zcat") else None,
        "Python {}, isal 1.9.1 and orjson 3.13.0".format(platform.python_version()): fast,
        "Node {}, zlib and JSON.parse".format(first_line("node", "--version") if node else ""): node,
        "Python {}, gzip and json".format(platform.python_version()): with_python,
        "gzip and {}".format(first_line("jq", "--version") if jq else "jq"): jq,
        "gzip, jq and rsigma 0.23.0 with the CloudHSM rules (make tools-rsigma)": rsigma,
    }


def once(name, command, file):
    """Seconds of one run, and the peak resident KiB of its largest process."""
    arguments = [*command, str(file)]
    if RSIGMA_PIPE in command:
        arguments += [str(RSIGMA), str(PROJECT / "rules" / "cloudhsm")]
    start = time.perf_counter()
    child = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        sys.exit("{} failed on {}: run it by hand: {}".format(name, file, arguments))
    return seconds, usage.ru_maxrss


def bench_program():
    """Builds the bench that writes the files and inflates alone, and says where it is."""
    built = subprocess.run(
        ["cargo", "bench", "--locked", "--target-dir", BUILT, "--bench", "ratio", "--no-run", "--message-format", "short"],
        cwd=PROJECT,
        text=True,
        stderr=subprocess.PIPE,
    )
    for line in built.stderr.splitlines():
        if "Executable" in line and "ratio" in line:
            return PROJECT / line[line.rindex("(") + 1 : line.rindex(")")]
    sys.exit("cargo did not build the bench:\n{}".format(built.stderr))


def write_files(bench):
    """The generated files: the same bytes each time."""
    FILES.mkdir(parents=True, exist_ok=True)
    subprocess.run([bench, "write", FILES], cwd=PROJECT, check=True)


def processor():
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return "{} x {}".format(len(names), names[0]) if names else platform.processor()


def compare(kind, known, rounds):
    file = next((FILES / kind).iterdir())
    print("\n{}: {:.1f} MB compressed\n".format(kind, file.stat().st_size / 1e6))
    # A new process counts this one's memory as its own until it has become another program.
    floor = once("nothing", ["true"], file)[1]
    print("| reader | ms | times {} | peak MiB |\n|---|---:|---:|---:|".format(OWN))
    there = {name: command for name, command in known.items() if command}
    times = {name: [] for name in there}
    peaks = dict.fromkeys(there, 0)
    for turn in range(rounds + 1):
        for name, command in there.items():
            seconds, peak = once(name, command, file)
            # The first round fills the caches.
            if turn > 0:
                times[name].append(seconds)
                peaks[name] = max(peak, peaks[name])
    own = statistics.median(times[OWN])
    for name in known:
        if name not in there:
            print("| {} | not installed | | |".format(name))
            continue
        median = statistics.median(times[name])
        peak = "{}{:.0f}".format("<= " if peaks[name] <= 1.05 * floor else "", peaks[name] / 1024)
        print("| {} | {:.1f} | {:.2f} | {} |".format(name, median * 1e3, median / own, peak))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--program", type=pathlib.Path, default=PROJECT / "target" / "release" / "cloudhsm-alerts")
    parser.add_argument("--kinds", nargs="*", default=["typical", "large"])
    arguments = parser.parse_args()
    if not arguments.program.exists():
        sys.exit("{} is not there: run `make build`".format(arguments.program))
    bench = bench_program()
    write_files(bench)
    print(
        "{}, {}, {}, {} rounds, medians".format(
            time.strftime("%Y-%m-%d"), platform.machine(), processor(), arguments.rounds
        )
    )
    known = readers(arguments.program, bench)
    for kind in arguments.kinds:
        compare(kind, known, arguments.rounds)


if __name__ == "__main__":
    main()
