"""The whole product on this machine, without an AWS account and without Docker: `make run`.

Builds the function, deploys template.yaml into an emulator on a loopback port, puts a log file into the trail's
bucket as CloudTrail would, and prints what the subscribers get. Then it invokes the function as the stack's schedule
does every hour, and prints the reminders. The environment variable FILE names the log file; without it, the sample's
calls are moved to six days ago, so that a reminder is due. With FULL=1 every alert is shown in full. Alerts go to
standard output, progress to standard error. Exit code: 0 done, 1 the function or a step before it failed, 2 the file
cannot be read.
"""

import datetime
import gzip
import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path

from emulator import ACCOUNT, EMAIL, FOLDER, PHONE, ROOT, SAMPLE, SAMPLE_KEY, Emulator, build, emulator, stop_on_signals

# The largest log file takes the unoptimized function minutes.
LONGEST_INVOCATION = 600


def printable(text: str) -> str:
    """A log file may come from anyone: no control character of it reaches the terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)


def say(text: str) -> None:
    print(printable(f"run: {text}"), file=sys.stderr, flush=True)


def out(text: str) -> None:
    print(printable(text), flush=True)


def heading(rule: str, text: str) -> None:
    out(f"\n{rule * 2} {text} {rule * max(2, 76 - len(text))}")


def moved(sample: str) -> str:
    """The sample with its first deletion six days ago, a minute more, and all other times moved alike."""
    records = json.loads(sample)["Records"]
    deleted = min(record["eventTime"] for record in records if record["eventName"] == "DeleteBackup")
    target = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=6, minutes=1)
    by = target - datetime.datetime.fromisoformat(deleted)
    forms = {
        r"\d{4}-\d\d-\d\dT[\d:]{8}Z": "%Y-%m-%dT%H:%M:%S%z",
        r"[A-Z][a-z]{2} \d+, \d{4}, [\d:]+ [AP]M": "%b %d, %Y, %I:%M:%S %p",
    }
    for pattern, form in forms.items():
        for found in sorted(set(re.findall(pattern, sample))):
            # Each in quotes, so that none is found in another, and marked, so that none is moved twice.
            to = (datetime.datetime.strptime(found, form) + by).strftime(form.replace("%z", "Z"))
            sample = sample.replace(f'"{found}"', f'"\0{to}"')
    return sample.replace("\0", "")


def tick(aws: Emulator, outputs: dict[str, str]) -> dict:
    """Invokes the function with the event of the stack's schedule, which the emulator does not run; the reply."""
    event = json.loads((ROOT / "events" / "eventbridge-scheduled.json").read_text())
    function = outputs["FunctionArn"]
    variables = aws.client("lambda").get_function_configuration(FunctionName=function)["Environment"]["Variables"]
    event["resources"] = [variables["TICK_RULE_ARN"]]
    reply = aws.client("lambda").invoke(FunctionName=function, Payload=json.dumps(event))
    return json.loads(reply["Payload"].read())


def wait_for_end(aws: Emulator, outputs: dict[str, str]) -> dict | None:
    """Waits until the invocation has ended; returns its failure, if it failed."""
    started = announced = time.monotonic()
    while not any(line.startswith("END RequestId") for line in aws.log_lines(outputs["FunctionLogGroup"])):
        now = time.monotonic()
        if aws.process.poll() is not None:
            sys.exit(f"run: the emulator ended:\n{aws.log.read_text(errors='replace')[-2000:]}")
        if now - started > LONGEST_INVOCATION:
            sys.exit(f"run: the function has not ended after {LONGEST_INVOCATION} s")
        if now - announced >= 10:
            announced = now
            say(f"the function is still running ({now - started:.0f} s) ...")
        time.sleep(0.1)
    # The emulator writes the log first, and the failure to its queue right after.
    for _ in range(10):
        for failure in aws.messages(outputs["FailureQueueUrl"]):
            return json.loads(failure)
        time.sleep(0.05)
    return None


def alerts_of(aws: Emulator, outputs: dict[str, str]) -> list[dict[str, str | None]]:
    """What the function published: each alert, with the page that followed it."""
    by_email, by_sms, by_machine = (aws.received(outputs[f"{name}QueueUrl"]) for name in ("Email", "Sms", "Machine"))
    assert {*by_machine, *by_sms} <= set(aws.sns.published), "the proxy kept every message"
    alerts = []
    for message_id, published in aws.sns.published.items():
        if published["TopicArn"] == outputs["PagingTopicArn"]:
            alerts[-1]["sms"] = by_sms.get(message_id)
            continue
        texts = {"default": published["Message"]}
        if published.get("MessageStructure") == "json":
            texts = json.loads(published["Message"])
        alerts.append(
            {
                "subject": published.get("Subject", ""),
                "email": texts.get("email", texts["default"]) if message_id in by_email else None,
                "sms": None,
                "json": by_machine.get(message_id),
            }
        )
    return alerts


def show(alerts: list[dict[str, str | None]], full: bool, noun: str = "Alert") -> None:
    shown = len(alerts) if full else min(1, len(alerts))
    for number, alert in enumerate(alerts[:shown], 1):
        heading("=", f"{noun} {number} of {len(alerts)}")
        if alert["email"] is None:
            heading("-", "E-mail: none")
        else:
            heading("-", f"E-mail to {EMAIL}")
            out(f"Subject: {alert['subject']}\n\n{alert['email'].rstrip()}")
        if alert["sms"] is None:
            heading("-", "SMS: none, its severity is below PagingMinSeverity")
        else:
            heading("-", f"SMS to {PHONE}, {len(alert['sms'])} characters")
            out(alert["sms"])
        if noun == "Alert" or full:
            heading("-", "JSON, as a queue receives it")
            out(json.dumps(json.loads(alert["json"] or "null"), indent=2, ensure_ascii=False))
    if alerts[shown:]:
        heading("=", f"And {len(alerts) - shown} more (FULL=1 shows all in full)")
        for number, alert in enumerate(alerts[shown:], shown + 1):
            out(f"{number:>3}. {alert['subject']}{'' if alert['sms'] is None else '  [also by SMS]'}")


def counts(log: list[str]) -> str:
    """What the function logs at its end: each record and each alert accounted for."""
    for line in reversed(log):
        try:
            logged = json.loads(line)["counts"]
        except (ValueError, KeyError, TypeError):
            continue
        return ", ".join(f"{name} {number}" for name, number in logged.items())
    return "not in its log"


def main() -> None:
    file = Path(os.environ.get("FILE") or SAMPLE)
    try:
        content = file.read_bytes()
    except OSError as error:
        say(f"cannot read {file}: {error.strerror}")
        sys.exit(2)
    if file == SAMPLE:
        content = moved(content.decode()).encode()
        (ROOT / "target").mkdir(exist_ok=True)
        (ROOT / "target" / "log-file.json").write_bytes(content)
    if not content.startswith(b"\x1f\x8b"):
        content = gzip.compress(content, mtime=0)
    # CloudTrail's file names are kept.
    named_so = re.fullmatch(r"\d{12}_CloudTrail_.+\.json\.gz", file.name)
    key = FOLDER + file.name if named_so else SAMPLE_KEY

    stop_on_signals()
    say("building the function (some minutes the first time, then seconds) ...")
    program = build()
    # Under target/, because the function is run from there: /tmp may forbid that.
    with tempfile.TemporaryDirectory(prefix="run-", dir=ROOT / "target", ignore_cleanup_errors=True) as folder:
        say("starting the emulator and deploying template.yaml into it (seconds) ...")
        with emulator(Path(folder)) as aws:
            aws.upload(program)
            outputs = aws.deploy(
                "cloudhsm-alerts", AlertEmail=EMAIL, AlertPhoneNumber=PHONE, AccountNames=f"{ACCOUNT}=prod"
            )
            say(f"putting the log file into the trail's bucket: s3://{outputs['TrailBucketName']}/{key}")
            started = time.monotonic()
            aws.put_object(outputs["TrailBucketName"], key, content)
            failure = wait_for_end(aws, outputs)
            seconds = time.monotonic() - started
            alerts = alerts_of(aws, outputs)
            log = aws.log_lines(outputs["FunctionLogGroup"])
            ticked = tick(aws, outputs) if failure is None else {}
            reminders = alerts_of(aws, outputs)[len(alerts) :]
    full = os.environ.get("FULL", "0") not in ("", "0")
    show(alerts, full)
    show(reminders, full, "Reminder")
    if failure is not None:
        error = failure.get("responsePayload") or {}
        for line in [line for line in log if not line.startswith(("START ", "END ", "REPORT "))][-20:]:
            say(f"function log: {line}")
        say(
            f"the function failed on {file.name} after {len(alerts)} alerts: "
            f"{error.get('errorType')}: {error.get('errorMessage')}"
        )
        sys.exit("run: on AWS it is retried twice, and then kept in the failure queue")
    say(f"{len(alerts)} alerts from {file.name}, {seconds:.1f} s after the file was put")
    say(f"the function's counts: {counts(log)}")
    say(f"the hourly tick: {ticked.get('deadlines_open', 0)} open deadlines, {ticked.get('reminders', 0)} reminded of")
    say("e-mail and SMS texts are those that the function published to SNS: nothing left this machine")


if __name__ == "__main__":
    main()
