#!/usr/bin/env python3
"""`make test-sam`: the function in Lambda's own container, as `sam local` runs it.

Builds with `sam build`, then gives every payload of `events/` to `sam local invoke`, and
some to a running `sam local start-lambda`. S3, SNS and DynamoDB are moto's, listening
where the container reaches them. Replies are compared whole with EXPECTED below, and what
was published with the calls that the payload leads to. The Docker engine and the image are
those of `engine.py`, which says what is used where there is none.

    make test-sam                           with the function as `make test` builds it
    make test-sam FUNCTION_PROFILE=release  with the function as it is deployed
    make test-sam EVENT=path                one payload of yours: shows the reply and who was told what
    make test-sam PULL=1                    in Lambda's image, fetched if it is not there
"""

import gzip
import http.client
import json
import os
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

sys.dont_write_bytecode = True

from emulator import LOOPBACK, free_port
from engine import ADD_HOST, Engine, EngineError, architecture, say
from processes import LIKE_CTRL_C, CommandError, Server, run as run_command
from run import ACCOUNT, REGION, SAMPLE, SAMPLE_NAME, Interruption
from tools import ROOT, ToolsError, ensure

FUNCTION = "CloudHsmAlertsFunction"
BUCKET = "cloudhsm-alerts-trail-" + ACCOUNT
FOLDER = "AWSLogs/{}/CloudTrail/{}/2026/11/23/".format(ACCOUNT, REGION)
# moto's own account.
TOPIC = "arn:aws:sns:{}:123456789012:alerts".format(REGION)
LEDGER = "ledger"

# One reading of the sample log file.
READ = {
    "objects": 1, "records": 9, "evaluated": 9, "unreadable": 0,
    "matched": 7, "published": 5, "digested": 0, "filtered": 0, "below_minimum": 2, "already_told": 0, "failed": 0,
}
NOTHING = dict.fromkeys(READ, 0)
CALLS = ["CreateHsm", "DeleteBackup", "DeleteBackup", "InitializeCluster", "ModifyCluster"]

ALL_DONE = {"batchItemFailures": []}

# What each payload comes to: the reply, or the `errorType` of a failed invocation, and the
# calls that are told. Keys of a reply that are not named here (times, sizes) are not compared.
EXPECTED = {
    "s3-put.json": (READ, CALLS),
    # A second object is named there and is not in the bucket.
    "s3-put-many.json": ("Object.NotFound", CALLS),
    "s3-removed.json": (NOTHING, []),
    "s3-test-event.json": (NOTHING, []),
    "sns-s3-put.json": (READ, CALLS),
    "sns-cloudtrail.json": (READ, CALLS),
    "sns-cloudtrail-string.json": (READ, CALLS),
    "sns-cloudtrail-validation.json": (NOTHING, []),
    "sqs-s3-put.json": ("one failed message", CALLS),
    "sqs-sns-s3-put.json": (ALL_DONE, CALLS),
    "sqs-sns-raw-s3-put.json": (ALL_DONE, CALLS),
    "sqs-sns-cloudtrail.json": (ALL_DONE, CALLS),
    "sqs-destination.json": (ALL_DONE, CALLS),
    "eventbridge-object-created.json": (READ, CALLS),
    "eventbridge-cloudtrail-call.json": (
        dict(NOTHING, records=1, evaluated=1, matched=1, published=1), ["DeleteBackup"]
    ),
    "destination.json": (READ, CALLS),
    "batch-1.0.json": (["Succeeded", "PermanentFailure"], CALLS),
    "batch-2.0.json": (["Succeeded", "Succeeded"], CALLS),
}


class SamError(Exception):
    """Why the test ended, in words for the person at the terminal."""


def answers(url):
    try:
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5).close()
        return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


# ---- AWS ------------------------------------------------------------------------------


class Moto:
    """S3, SNS and DynamoDB with the trail's bucket, the topic and the ledger in them."""

    def __init__(self, url):
        self.url = url
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def request(self, service, method, path, body=None, **headers):
        request = urllib.request.Request(self.url + path, data=body, method=method)
        scope = "{}/20261123/{}/{}/aws4_request".format(ACCOUNT, REGION, service)
        request.add_header("Authorization", "AWS4-HMAC-SHA256 Credential={}, SignedHeaders=host, Signature=0".format(scope))
        # Left to itself, urllib says that every body is a form, and moto takes it for one.
        for name, value in dict({"Content_Type": "application/octet-stream"}, **headers).items():
            request.add_header(name.replace("_", "-"), value)
        try:
            with self.opener.open(request, timeout=60) as response:
                return response.read()
        except urllib.error.HTTPError as error:
            raise SamError("moto refused {} {}: {}".format(method, path, error.read().decode(errors="replace")[-500:]))
        except (OSError, http.client.HTTPException) as error:
            raise SamError("no answer from moto to {} {}: {}".format(method, path, error))

    def sns(self, **form):
        body = urllib.parse.urlencode(dict(form, Version="2010-03-31")).encode()
        self.request("sns", "POST", "/", body, Content_Type="application/x-www-form-urlencoded")

    def furnish(self):
        """Everything as at the start of an invocation's life: files there, nobody told."""
        self.request("s3", "POST", "/moto-api/reset", b"")
        place = "<CreateBucketConfiguration><LocationConstraint>{}</LocationConstraint></CreateBucketConfiguration>"
        self.request("s3", "PUT", "/" + BUCKET, place.format(REGION).encode())
        log_file = gzip.compress(SAMPLE.read_bytes(), mtime=0)
        for prefix in ("", "hsm trail + audit/"):
            self.request("s3", "PUT", "/{}/{}".format(BUCKET, urllib.parse.quote(prefix + FOLDER + SAMPLE_NAME)), log_file)
        self.sns(Action="CreateTopic", Name=TOPIC.rpartition(":")[2])
        self.sns(Action="Subscribe", TopicArn=TOPIC, Protocol="email", Endpoint="oncall@example.com")
        table = {
            "TableName": LEDGER, "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
            "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
        }
        self.request(
            "dynamodb", "POST", "/", json.dumps(table).encode(),
            Content_Type="application/x-amz-json-1.0", X_Amz_Target="DynamoDB_20120810.CreateTable",
        )

    def told(self):
        """The calls that were published, sorted."""
        data = json.loads(self.request("sns", "GET", "/moto-api/data.json"))
        return sorted(
            notification[3]["event_name"]["Value"]
            for topic in data["sns"]["Topic"]
            for notification in topic["sent_notifications"]
        )


# ---- SAM ------------------------------------------------------------------------------


class Sam:
    def __init__(self, folder, engine, work, endpoint, image):
        self.program = str(folder / "bin" / "sam")
        self.work = work
        self.image = image
        self.architecture = architecture()
        # With credentials of the user's in its environment, SAM looks them up at AWS first.
        # The Makefile takes the architecture from the environment, SAM from the template.
        self.environment = dict(
            engine.environment, SAM_CLI_TELEMETRY="0", AWS_DEFAULT_REGION=REGION, ARCH=self.architecture,
            AWS_CONFIG_FILE=os.devnull, AWS_SHARED_CREDENTIALS_FILE=os.devnull,
        )
        self.parameters = ["--parameter-overrides", "Architecture=" + self.architecture]
        self.variables = work / "env.json"
        self.endpoint = endpoint
        self.write_variables(ledger="")

    def write_variables(self, ledger):
        variables = {
            "ALERT_TOPIC_ARN": TOPIC, "MIN_SEVERITY": "low", "ACCOUNT_NAMES": ACCOUNT + "=prod", "MAX_ALERTS": "10",
            "LEDGER_TABLE": ledger, "RULES_URI": "", "WATCHED": "", "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": REGION, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_SESSION_TOKEN": "test",
        }
        self.variables.write_text(json.dumps({FUNCTION: variables}))

    def build(self):
        say("sam build (the function is compiled if it has changed) ...")
        code, output, errors = run_command(
            [self.program, "build", "--build-dir", self.work / "build", "--cache-dir", self.work / "cache", *self.parameters],
            cwd=str(ROOT), env=self.environment,
        )
        if code != 0:
            raise SamError("sam build failed:\n" + (output + errors)[-4000:])
        self.template = self.work / "build" / "template.yaml"

    def local(self, command, *arguments):
        image = [] if self.image is None else ["--invoke-image", self.image]
        return [
            self.program, "local", command, "--template", self.template, "--env-vars", self.variables, *self.parameters,
            "--skip-pull-image", *image, *ADD_HOST, "--region", REGION, *arguments,
        ]

    def invoke(self, event):
        """`sam local invoke` ends with 0 even when the function failed: the reply says it."""
        _, output, log = run_command(
            self.local("invoke", "--event", event, FUNCTION), ending=LIKE_CTRL_C, cwd=str(ROOT), env=self.environment
        )
        try:
            return json.loads(output.strip().splitlines()[-1]), log
        except (IndexError, ValueError):
            raise SamError("sam local invoke gave no reply to {}:\n{}\n{}".format(event.name, output, log[-4000:]))


def differences(reply, expected):
    """In words; none where the reply is what it should be."""
    if expected == "one failed message":
        failed = reply.get("batchItemFailures")
        return [] if isinstance(failed, list) and len(failed) == 1 else ["the failed messages are {}".format(failed)]
    if isinstance(expected, str):
        found = reply.get("errorType")
        return [] if found == expected else ["the errorType is {}, not {}".format(found, expected)]
    if isinstance(expected, list):
        found = [result.get("resultCode") for result in reply.get("results", [])]
        return [] if found == expected else ["the result codes are {}, not {}".format(found, expected)]
    return [
        "{} is {}, not {}".format(key, reply.get(key), value) for key, value in expected.items() if reply.get(key) != value
    ]


def test(sam, moto):
    events = sorted((ROOT / "events").glob("*.json"))
    unexpected = {event.name for event in events} ^ set(EXPECTED)
    if unexpected:
        raise SamError("events/ and EXPECTED differ in {}".format(", ".join(sorted(unexpected))))
    wrong = []
    for event in events:
        moto.furnish()
        started = time.monotonic()
        reply, log = sam.invoke(event)
        expected, calls = EXPECTED[event.name]
        problems = differences(reply, expected)
        if moto.told() != calls:
            problems.append("told were {}, not {}".format(moto.told(), calls))
        say("{:<38} {} ({:.1f} s)".format(event.name, "as expected" if not problems else "WRONG", time.monotonic() - started))
        if problems:
            wrong.append(event.name)
            say("\n  ".join(problems + [json.dumps(reply)] + log.splitlines()[-15:]))
    return wrong


def show(sam, moto, event):
    moto.furnish()
    reply, log = sam.invoke(event)
    say("the function's log:\n" + log.strip())
    print(json.dumps(reply, indent=2))
    for call in moto.told():
        print("told: " + call)


def test_running(sam, moto):
    """One container for many invocations, with the ledger: the second of two tells nothing."""
    moto.furnish()
    sam.write_variables(ledger=LEDGER)
    port = free_port()
    url = "http://{}:{}/".format(LOOPBACK, port)
    log = sam.work / "start-lambda.log"
    command = sam.local("start-lambda", "--warm-containers", "EAGER", "--host", LOOPBACK, "--port", port)
    with Server(command, log, sam.environment, lambda: answers(url)):
        replies = []
        for name in ("s3-put.json", "sns-s3-put.json"):
            body = (ROOT / "events" / name).read_bytes()
            request = urllib.request.Request(url + "2015-03-31/functions/{}/invocations".format(FUNCTION), body, method="POST")
            try:
                with moto.opener.open(request, timeout=120) as response:
                    replies.append(json.loads(response.read()))
            except (OSError, http.client.HTTPException, ValueError) as error:
                raise SamError("sam local start-lambda gave no reply to {}: {}\n{}".format(
                    name, error, log.read_text(errors="replace")[-4000:]))
    problems = differences(replies[0], READ) + differences(replies[1], dict(READ, published=0, already_told=5))
    if moto.told() != CALLS:
        problems.append("told were {}, not {}".format(moto.told(), CALLS))
    say("start-lambda, the same file twice      {}".format("as expected" if not problems else "WRONG"))
    if problems:
        say("\n  ".join(problems + [json.dumps(reply) for reply in replies]))
    return ["start-lambda"] if problems else []


def run(event):
    if event is not None and not event.is_file():
        raise SamError("there is no file {}".format(event))
    architecture()
    (ROOT / "target").mkdir(exist_ok=True)
    sam_folder, moto_folder = ensure("sam"), ensure("moto")
    with tempfile.TemporaryDirectory(prefix="sam-", dir=str(ROOT / "target")) as folder:
        work = Path(folder)
        with Engine(work) as engine:
            image, is_lambdas = engine.image(sam_folder)
            address, host = engine.host()
            port = free_port(address)
            server = [moto_folder / "bin" / "moto_server", "-H", address, "-p", port]
            ours, theirs = ("http://{}:{}".format(name, port) for name in (address, host))
            with Server(server, work / "moto.log", engine.environment, lambda: answers(ours + "/moto-api/")):
                moto = Moto(ours)
                sam = Sam(sam_folder, engine, work, theirs, None if is_lambdas else image)
                engine.check_way_back(image, host, port)
                sam.build()
                if event is not None:
                    return show(sam, moto, event)
                wrong = test(sam, moto) + test_running(sam, moto)
    if wrong:
        raise SamError("not as expected: " + ", ".join(wrong))
    say("all of events/ in {}, as expected".format("Lambda's container" if is_lambdas else "the stand-in for Lambda's container"))


def main():
    Interruption()
    chosen = os.environ.get("EVENT")
    try:
        run(Path(chosen).resolve() if chosen else None)
    except (SamError, EngineError, CommandError, ToolsError, OSError) as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
