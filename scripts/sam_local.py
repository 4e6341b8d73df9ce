"""The function in Lambda's container, as `sam local` runs it: `make test-sam`.

Builds with `sam build`, then gives every payload of events/ to `sam local invoke`, and the same file twice to one
container of `sam local start-lambda`. S3, SNS and DynamoDB are moto's, in this process. Needs a Docker engine on this
machine, and Lambda's image, which SAM pulls if it is not there; INVOKE_IMAGE names another one to use. EVENT names one
payload to give to it instead, and shows the reply and the log.
"""

import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moto.core import DEFAULT_ACCOUNT_ID
from moto.moto_api._internal import moto_api_backend
from moto.server import ThreadedMotoServer
from moto.sns.models import sns_backends

from emulator import ACCOUNT, LOG_FILE, LOOPBACK, REGION, SAMPLE_KEY, client, free_port, run, server, stop_on_signals
from tools import ROOT, TOOLS, architecture

FUNCTION = "CloudHsmAlertsFunction"
BUCKET = f"cloudhsm-alerts-trail-{ACCOUNT}"
TOPIC = f"arn:aws:sns:{REGION}:{DEFAULT_ACCOUNT_ID}:alerts"
LEDGER, WATCH = "ledger", "watch"
HOST = "host.docker.internal"
# By this signal SAM removes its container and ends.
REMOVE_CONTAINER = signal.SIGINT

# Members of a reply: those of an invocation that did nothing, of one that read the sample file, and of one that read
# it again. Other members are not compared.
COUNTS = "objects records evaluated unreadable matched published summarized suppressed below_min_severity duplicates"
NOTHING = dict.fromkeys([*COUNTS.split(), "failed"], 0)
READ = NOTHING | {"objects": 1, "records": 9, "evaluated": 9, "matched": 7, "published": 5, "below_min_severity": 2}
READ_AGAIN = READ | {"published": 0, "duplicates": 5}
ONE_CALL = NOTHING | {"records": 1, "evaluated": 1, "matched": 1, "published": 1}
CALLS = ["CreateHsm", "DeleteBackup", "DeleteBackup", "InitializeCluster", "ModifyCluster"]
ALL_DONE = {"batchItemFailures": []}

# For each payload: members of the reply (`failed_messages` and `result_codes` are worked out of it), and the calls
# whose alerts are published.
EXPECTED: dict[str, tuple[dict[str, Any], list[str]]] = {
    # A second object is named there and is not in the bucket.
    "s3-put-many": ({"errorType": "Object.NotFound"}, CALLS),
    "sqs-s3-put": ({"failed_messages": 1}, CALLS),
    "eventbridge-scheduled": ({"errorType": "Payload.Unknown"}, []),
    "eventbridge-cloudtrail-call": (ONE_CALL, ["DeleteBackup"]),
    "batch-1.0": ({"result_codes": ["Succeeded", "PermanentFailure"]}, CALLS),
    "batch-2.0": ({"result_codes": ["Succeeded", "Succeeded"]}, CALLS),
}
READ_WHOLE = "s3-put sns-s3-put sns-cloudtrail sns-cloudtrail-string eventbridge-object-created destination"
QUEUED = "sqs-sns-s3-put sqs-sns-raw-s3-put sqs-sns-cloudtrail sqs-destination"
EXPECTED |= dict.fromkeys(READ_WHOLE.split(), (READ, CALLS)) | dict.fromkeys(QUEUED.split(), (ALL_DONE, CALLS))
EXPECTED |= dict.fromkeys(["s3-removed", "s3-test-event", "sns-cloudtrail-validation"], (NOTHING, []))


def say(text: str) -> None:
    print(f"test-sam: {text}", file=sys.stderr, flush=True)


def host_address() -> str:
    """Where a server listens so that containers reach it at HOST: the address of Docker's bridge on this machine.
    Docker Desktop and the like run in a virtual machine, which hands HOST on to the loopback address."""
    command = ["docker", "network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Subnet}}"]
    found = subprocess.run(command, capture_output=True, text=True)
    if found.returncode != 0:
        sys.exit(f"test-sam: needs a Docker engine: {found.stderr.strip()}")
    # The bridge has the first address of its network.
    gateway = found.stdout.strip().partition("/")[0].rpartition(".")[0] + ".1"
    try:
        free_port(gateway)
    except OSError:
        return LOOPBACK
    return gateway


class Aws:
    """S3, SNS and DynamoDB, with the trail's bucket, the topic and the ledger in them."""

    def __init__(self, address: str) -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        moto = ThreadedMotoServer(address, 0, verbose=False)
        moto.start()
        self.port = moto.get_host_and_port()[1]
        self.url = f"http://{address}:{self.port}"

    def reset(self) -> None:
        """The log files are there, and nothing is published yet."""
        moto_api_backend.reset()
        s3 = client("s3", self.url, s3={"addressing_style": "path"})
        s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        for prefix in ("", "hsm trail + audit/"):
            s3.put_object(Bucket=BUCKET, Key=prefix + SAMPLE_KEY, Body=LOG_FILE)
        sns = client("sns", self.url)
        sns.create_topic(Name=TOPIC.rpartition(":")[2])
        sns.subscribe(TopicArn=TOPIC, Protocol="email", Endpoint="oncall@example.com")
        for table, keys in ((LEDGER, ["id"]), (WATCH, ["kind", "id"])):
            client("dynamodb", self.url).create_table(
                TableName=table,
                BillingMode="PAY_PER_REQUEST",
                AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in keys],
                KeySchema=[
                    {"AttributeName": key, "KeyType": kind} for key, kind in zip(keys, ("HASH", "RANGE"), strict=False)
                ],
            )

    def published(self) -> list[str]:
        """The calls whose alerts were published, sorted."""
        sent = sns_backends[DEFAULT_ACCOUNT_ID][REGION].topics[TOPIC].sent_notifications
        return sorted(notification[3]["event_name"]["Value"] for notification in sent)


@dataclass
class Sam:
    work: Path
    port: int

    def __post_init__(self) -> None:
        # The Makefile takes the architecture from the environment, SAM from the template.
        os.environ |= {"AWS_DEFAULT_REGION": REGION, "ARCH": architecture()}
        self.parameters = ["--parameter-overrides", f"Architecture={os.environ['ARCH']}"]

    def write_variables(self, ledger: str) -> None:
        variables = {
            "ALERT_TOPIC_ARN": TOPIC, "PAGING_TOPIC_ARN": "", "MIN_SEVERITY": "low", "ACCOUNT_NAMES": f"{ACCOUNT}=prod",
            "LEDGER_TABLE": ledger, "WATCH_TABLE": WATCH, "TICK_RULE_ARN": "", "DIGEST_AUDIT": "off",
            "RULES_URI": "", "WATCHED": "", "AWS_ENDPOINT_URL": f"http://{HOST}:{self.port}",
            "AWS_REGION": REGION, "AWS_ACCESS_KEY_ID": ACCOUNT, "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_SESSION_TOKEN": "test",
        }  # fmt: skip
        (self.work / "env.json").write_text(json.dumps({FUNCTION: variables}))

    def build(self) -> None:
        say("sam build (the function is compiled if it has changed) ...")
        folders = ["--build-dir", self.work / "build", "--cache-dir", self.work / "cache"]
        command = [TOOLS / "sam/bin/sam", "build", *folders, *self.parameters]
        if run(command, cwd=ROOT, stdout=subprocess.DEVNULL).returncode != 0:
            sys.exit("test-sam: sam build failed")

    def local(self, command: str, *arguments: object) -> list[str]:
        image = os.environ.get("INVOKE_IMAGE")
        options = ["--template", self.work / "build/template.yaml", "--env-vars", self.work / "env.json"]
        options += ["--add-host", f"{HOST}:host-gateway", "--skip-pull-image", "--region", REGION, *self.parameters]
        options += ["--invoke-image", image] if image else []
        return [str(part) for part in (TOOLS / "sam/bin/sam", "local", command, *options, *arguments)]

    def invoke(self, event: Path) -> tuple[dict, str]:
        """The reply and the log. `sam local invoke` ends with 0 even when the function failed; the reply shows that."""
        command = self.local("invoke", "--event", event, FUNCTION)
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "errors": "replace"}
        done = run(command, REMOVE_CONTAINER, cwd=ROOT, **pipes)
        try:
            return json.loads(done.stdout.strip().splitlines()[-1]), done.stderr
        except (IndexError, ValueError):
            sys.exit(f"test-sam: sam local invoke gave no reply to {event.name}:\n{done.stdout}\n{done.stderr[-4000:]}")


def differences(reply: dict, expected: dict, published: list[str], calls: list[str]) -> list[str]:
    found = reply | {
        "failed_messages": len(reply.get("batchItemFailures") or []),
        "result_codes": [result.get("resultCode") for result in reply.get("results", [])],
        "published calls": published,
    }
    expected = expected | {"published calls": calls}
    return [f"{key} is {found.get(key)}, not {value}" for key, value in expected.items() if found.get(key) != value]


def test_invoke(sam: Sam, aws: Aws) -> list[str]:
    events = sorted((ROOT / "events").glob("*.json"))
    different = {event.stem for event in events} ^ set(EXPECTED)
    if different:
        sys.exit(f"test-sam: events/ and EXPECTED differ in {', '.join(sorted(different))}")
    wrong = []
    for event in events:
        aws.reset()
        started = time.monotonic()
        reply, log = sam.invoke(event)
        expected, calls = EXPECTED[event.stem]
        problems = differences(reply, expected, aws.published(), calls)
        say(f"{event.name:<38} {'WRONG' if problems else 'as expected'} ({time.monotonic() - started:.1f} s)")
        if problems:
            wrong.append(event.name)
            say("\n  ".join([*problems, json.dumps(reply), *log.splitlines()[-15:]]))
    return wrong


def test_start_lambda(sam: Sam, aws: Aws) -> list[str]:
    """One container for two invocations, with the ledger: the second of the same file publishes nothing."""
    aws.reset()
    sam.write_variables(ledger=LEDGER)
    port = free_port()
    command = sam.local("start-lambda", "--warm-containers", "EAGER", "--host", LOOPBACK, "--port", port)
    replies = []
    with server(command, sam.work / "start-lambda.log", port, REMOVE_CONTAINER, cwd=ROOT):
        functions = client("lambda", f"http://{LOOPBACK}:{port}", read_timeout=120, retries={"total_max_attempts": 1})
        for name in ("s3-put.json", "sns-s3-put.json"):
            payload = (ROOT / "events" / name).read_bytes()
            replies.append(json.load(functions.invoke(FunctionName=FUNCTION, Payload=payload)["Payload"]))
    problems = differences(replies[0], READ, [], []) + differences(replies[1], READ_AGAIN, aws.published(), CALLS)
    say(f"start-lambda, the same file twice      {'WRONG' if problems else 'as expected'}")
    if problems:
        say("\n  ".join([*problems, *map(json.dumps, replies)]))
    return ["start-lambda"] if problems else []


def main() -> None:
    event = os.environ.get("EVENT")
    stop_on_signals()
    # Under target/, which Docker Desktop shares with its containers as it does the project.
    with tempfile.TemporaryDirectory(prefix="sam-", dir=ROOT / "target", ignore_cleanup_errors=True) as folder:
        aws = Aws(host_address())
        sam = Sam(Path(folder), aws.port)
        sam.build()
        sam.write_variables(ledger="")
        if event:
            aws.reset()
            reply, log = sam.invoke(Path(event).resolve())
            say(f"the function's log:\n{log.strip()}")
            print(json.dumps(reply, indent=2))
            print(f"published: {', '.join(aws.published())}")
            return
        wrong = test_invoke(sam, aws) + test_start_lambda(sam, aws)
    if wrong:
        sys.exit(f"test-sam: not as expected: {', '.join(wrong)}")
    say("all of events/, as expected")


if __name__ == "__main__":
    main()
