#!/usr/bin/env python3
"""`make run`: the whole product on this machine, without an AWS account and without Docker.

Builds the function, deploys `template.yaml` into an emulator on a loopback port, puts
one log file into the trail's bucket as CloudTrail would, lets the bucket's own
notification invoke the function, and prints what people and machines receive. Then it
stops everything it started.

    make run                      the calls of events/log-files/cloudhsm-calls.json
    make run FILE=path            another log file, .json or .json.gz
    make run FULL=1               every alert in full, not only the first

Alerts go to stdout, all talk to stderr. Exit code: 0 done, 1 the function or a step
before it failed, 2 a file that cannot be used.
"""

import gzip
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# The folder of the scripts stays as it is in git.
sys.dont_write_bytecode = True

from emulator import Emulator, EmulatorError
from processes import CommandError, end, start
from stack import deploy, received, upload
from tools import ROOT, ToolsError, ensure

# The invented world of events/.
ACCOUNT = "111122223333"
REGION = "us-west-2"
EMAIL = "oncall@example.com"
PHONE = "+12065550100"
SAMPLE = ROOT / "events" / "log-files" / "cloudhsm-calls.json"
SAMPLE_NAME = "111122223333_CloudTrail_us-west-2_20261123T0355Z_Kd83hFq0aPzW61Lm.json.gz"

STACK = "cloudhsm-alerts"

LOG_FILE_NAME = re.compile(
    r"(?P<account>\d{12})_CloudTrail_(?P<region>[a-z0-9-]+)_"
    r"(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)T\d{4}Z_[A-Za-z0-9]{16}\.json\.gz"
)
CLOUDHSM = ("cloudhsm.amazonaws.com", "cloudhsmv2.amazonaws.com")

# The largest log file takes the unoptimized function minutes.
LONGEST_INVOCATION = 600


class RunError(Exception):
    """Why the run ended, in words for the person at the terminal."""

    def __init__(self, text, exit_code=1):
        super().__init__(text)
        self.exit_code = exit_code


def say(text):
    print("run: " + harmless(text), file=sys.stderr, flush=True)


def harmless(text):
    """A log file may come from anyone: no control character of it reaches the terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)


class LogFile:
    """The file to deliver: its bytes as CloudTrail stores them, and its key."""

    def __init__(self, path):
        if not path.name.endswith((".json", ".json.gz")):
            raise RunError("{}: a log file ends in .json or .json.gz".format(path), 2)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise RunError("cannot read {}: {}".format(path, error.strerror), 2)
        self.path = path
        # By what it is, not by its name.
        self.body = content if content.startswith(b"\x1f\x8b") else gzip.compress(content, mtime=0)
        # A damaged file is delivered all the same: what the function makes of it is the point.
        try:
            records = json.loads(gzip.decompress(self.body))["Records"]
            self.records = [record for record in records if isinstance(record, dict)]
        except (OSError, EOFError, ValueError, KeyError, TypeError):
            self.records = None
        self.key = key_of(path, content, self.records or [])

    def calls(self):
        return sum(record.get("eventSource") in CLOUDHSM for record in self.records or [])


def key_of(path, content, records):
    name = SAMPLE_NAME if path.resolve() == SAMPLE else path.name
    if not LOG_FILE_NAME.fullmatch(name):
        account, region, latest = ACCOUNT, REGION, "2026-11-23T03:50:00Z"
        for record in records:
            account = str(record.get("recipientAccountId", account))
            region = str(record.get("awsRegion", region))
            break
        times = [str(record.get("eventTime")) for record in records]
        times = [moment for moment in times if re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$", moment)]
        latest = max(times, default=latest)
        stamp = re.sub(r"[-:]", "", latest[:16]) + "Z"
        unique = hashlib.sha256(content).hexdigest()[:16]
        name = "{}_CloudTrail_{}_{}_{}.json.gz".format(account, region, stamp, unique)
    parts = LOG_FILE_NAME.fullmatch(name)
    if parts is None:
        # Its first record has no usable account or region.
        return "AWSLogs/{0}/CloudTrail/{1}/2026/11/23/{2}".format(ACCOUNT, REGION, SAMPLE_NAME)
    folder = "AWSLogs/{account}/CloudTrail/{region}/{year}/{month}/{day}/".format(**parts.groupdict())
    return folder + name


def build():
    """Builds the function as a developer does; returns the path of its program."""
    if shutil.which("cargo") is None:
        raise RunError("cargo is not installed or not on PATH: see https://rustup.rs")
    say("building the function (some minutes the first time, then seconds) ...")
    # With the tests, as `make test` builds it: alone, cargo would choose other features of
    # shared dependencies, and each command would compile them anew for itself.
    command = ["cargo", "build", "--locked", "--bins", "--tests"]
    # Its progress goes to the terminal, the path of what it built to us.
    cargo = start(command + ["--message-format=json-render-diagnostics"], cwd=str(ROOT), stdout=subprocess.PIPE)
    try:
        output, _ = cargo.communicate()
    except BaseException:
        # No compiler of it outlives an interrupted run.
        end(cargo)
        raise
    if cargo.returncode != 0:
        raise RunError("the function does not build (cargo, exit code {})".format(cargo.returncode))
    for line in output.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] == "bootstrap":
            return Path(message["executable"])
    raise RunError("cargo built no program called bootstrap")


def wait_for_end(emulator, outputs):
    """Waits until the invocation has ended; returns its failure, if it failed."""
    started = time.monotonic()
    announced = 0
    while not any(line.startswith("END RequestId") for line in emulator.log_lines(outputs["FunctionLogGroup"])):
        waited = time.monotonic() - started
        if not emulator.alive():
            raise RunError("the emulator ended on its own:\n" + emulator.log_tail())
        if waited > LONGEST_INVOCATION:
            raise RunError("the function has not ended after {} s".format(LONGEST_INVOCATION))
        if waited - announced >= 10:
            announced = waited
            say("the function is still at work ({:.0f} s) ...".format(waited))
        time.sleep(0.05)
    # The emulator writes the log first, and the failure to its queue right after.
    for _ in range(10):
        failures = emulator.messages(outputs["FailureQueueUrl"])
        if failures:
            return json.loads(failures[0])
        time.sleep(0.05)
    return None


def show(alerts, full):
    shown = len(alerts) if full else min(1, len(alerts))
    for number, alert in enumerate(alerts[:shown], 1):
        heading("=", "Alert {} of {}".format(number, len(alerts)))
        if alert["email"] is None:
            heading("-", "E-mail: none")
        else:
            heading("-", "E-mail to {}".format(EMAIL))
            out("Subject: {}\n\n{}".format(alert["subject"], alert["email"].rstrip()))
        if alert["sms"] is None:
            heading("-", "SMS: none, its subscription takes other severities")
        else:
            heading("-", "SMS to {}, {} characters".format(PHONE, len(alert["sms"])))
            out(alert["sms"])
        heading("-", "JSON, as a queue receives it")
        out(pretty(alert["json"]))
    rest = alerts[shown:]
    if rest:
        heading("=", "And {} more (add FULL=1 to see them in full)".format(len(rest)))
        for number, alert in enumerate(rest, shown + 1):
            out("{:>3}. {}{}".format(number, alert["subject"], "  [also by SMS]" if alert["sms"] is not None else ""))


def pretty(text):
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except (TypeError, ValueError):
        return str(text)


def heading(rule, text):
    out("\n{0}{0} {1} {2}".format(rule, text, rule * max(2, 76 - len(text))))


def out(text):
    print(harmless(text), flush=True)


def run(path, full):
    log_file = LogFile(path)
    program = build()
    environment = ensure("ministack")
    (ROOT / "target").mkdir(exist_ok=True)
    # Under target/, because the function is run from there: /tmp may forbid that.
    work = Path(tempfile.mkdtemp(prefix="run-", dir=str(ROOT / "target")))
    try:
        say("starting the emulator (a second or two) ...")
        with Emulator(environment, work, ACCOUNT, REGION) as emulator:
            say("deploying template.yaml into it, on {} (seconds) ...".format(emulator.url))
            code = upload(emulator, program, work)
            parameters = {
                "AlertEmail": EMAIL,
                "AlertPhoneNumber": PHONE,
                "AccountNames": ACCOUNT + "=prod",
            }
            outputs = deploy(emulator, environment, code, STACK, parameters)

            bucket = outputs["TrailBucketName"]
            say("putting the log file in the trail's bucket: s3://{}/{}".format(bucket, log_file.key))
            say("its notification invokes the function; waiting for the alerts ...")
            started = time.monotonic()
            emulator.put_object(bucket, log_file.key, log_file.body)
            failure = wait_for_end(emulator, outputs)
            seconds = time.monotonic() - started

            alerts = gather(emulator, outputs)
            log = emulator.log_lines(outputs["FunctionLogGroup"])
    finally:
        shutil.rmtree(str(work), ignore_errors=True)
    show(alerts, full)
    conclude(log_file, alerts, failure, log, seconds)


def gather(emulator, outputs):
    by_email, by_sms, by_machine = (
        received(emulator, outputs[name + "QueueUrl"]) for name in ("Email", "Sms", "Machine")
    )
    publications = emulator.recorder.publications
    alerts = [
        {
            "subject": publication.subject,
            "email": publication.text("email") if publication.message_id in by_email else None,
            "sms": publication.text("sms") if publication.message_id in by_sms else None,
            "json": by_machine.get(publication.message_id),
        }
        for publication in publications
    ]
    missed = set(by_machine) - {publication.message_id for publication in publications}
    if missed:
        raise RunError("{} alerts went past the recorder of e-mail and SMS texts".format(len(missed)))
    return alerts


def conclude(log_file, alerts, failure, log, seconds):
    content = "a file whose records cannot all be read"
    if log_file.records is not None:
        content = "{} with {}".format(
            count(len(log_file.records), "record"), count(log_file.calls(), "CloudHSM call")
        )
    print(file=sys.stderr)
    if failure is not None:
        error = failure.get("responsePayload") or {}
        lines = [line for line in log if not line.startswith(("START ", "END ", "REPORT "))]
        for line in lines[-20:]:
            say("function log: " + line)
        raise RunError(
            "the function failed on {} ({}), {} sent before that: {}: {}\n"
            "run: on AWS it is tried twice more, and then waits in the failure queue".format(
                log_file.path.name,
                content,
                count(len(alerts), "alert"),
                error.get("errorType", "error"),
                error.get("errorMessage", json.dumps(error)),
            )
        )
    if not alerts and log_file.records is not None and log_file.calls() == 0:
        say("no alert: {} has {}, none of them a CloudHSM call".format(
            log_file.path.name, count(len(log_file.records), "record")))
    elif not alerts:
        say("no alert: no rule of at least severity low met a call in {} ({})".format(log_file.path.name, content))
    else:
        say("{} from {} ({}), {:.1f} s after the file was put".format(
            count(len(alerts), "alert"), log_file.path.name, content, seconds))
        say("the function's own counts: " + (counts(log) or "not in its log"))
        say("E-mail and SMS texts are those the function published to SNS: nothing left this machine")


def counts(log):
    """What the function logs at its end: each record and each alert accounted for."""
    for line in reversed(log):
        try:
            logged = json.loads(json.loads(line)["counts"])
            return ", ".join("{} {}".format(name, number) for name, number in logged.items() if number)
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    return None


def count(number, noun):
    return "{} {}{}".format(number, noun, "" if number == 1 else "s")


class Interruption:
    """Ends the run by the first signal; a further one must not disturb the cleaning up."""

    def __init__(self):
        self.seen = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self)

    def __call__(self, number, _frame):
        if not self.seen:
            self.seen = True
            say("stopped by signal {}, cleaning up ...".format(number))
            sys.exit(128 + number)


def main(arguments):
    Interruption()
    chosen = arguments[0] if arguments else os.environ.get("FILE")
    full = os.environ.get("FULL", "") not in ("", "0")
    try:
        run(Path(chosen) if chosen else SAMPLE, full)
    except (RunError, EmulatorError, ToolsError, CommandError, OSError) as error:
        say(str(error))
        return getattr(error, "exit_code", 1)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
