"""Servers on this machine in AWS's place, and clients for them.

MiniStack stores objects, sends a bucket's notifications, runs the function's real program as a process, and delivers
to queues. It drops e-mail and SMS, so the function publishes through a proxy that keeps each message.
A template is deployed as it is, without the resources that MiniStack cannot make (`NOT_EMULATED`) and with a queue
beside each e-mail and SMS subscription, which gets what that subscription would get.
"""

import gzip
import http.client
import http.server
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import boto3
from botocore.client import BaseClient
from botocore.config import Config

from package import pack
from tools import ROOT, TOOLS

LOOPBACK = "127.0.0.1"

# The invented account of events/.
ACCOUNT, REGION = "111122223333", "us-west-2"
EMAIL, PHONE = "oncall@example.com", "+12065550100"
SAMPLE = ROOT / "events" / "log-files" / "cloudhsm-calls.json"
FOLDER = f"AWSLogs/{ACCOUNT}/CloudTrail/{REGION}/2026/11/23/"
SAMPLE_KEY = f"{FOLDER}{ACCOUNT}_CloudTrail_{REGION}_20261123T0355Z_Kd83hFq0aPzW61Lm.json.gz"
LOG_FILE = gzip.compress(SAMPLE.read_bytes(), mtime=0)

CODE_BUCKET = "cloudhsm-alerts-code"
NOT_EMULATED = (
    "AWS::CloudTrail::Trail",
    "AWS::Events::EventBusPolicy",
    "AWS::Chatbot::SlackChannelConfiguration",
    "AWS::Chatbot::MicrosoftTeamsChannelConfiguration",
)

# Nobody's AWS settings reach an emulator, a client of it, or SAM.
for name in [name for name in os.environ if name.startswith(("AWS_", "SAM_"))]:
    del os.environ[name]
os.environ.update(AWS_CONFIG_FILE=os.devnull, AWS_SHARED_CREDENTIALS_FILE=os.devnull, SAM_CLI_TELEMETRY="0")


def stop_on_signals() -> None:
    """Ends this program in order by the first signal; a further one does not disturb the cleanup."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def stop(number: int, _frame: FrameType | None) -> None:
        for each in numbers:
            signal.signal(each, lambda *_: None)
        sys.exit(128 + number)

    for number in numbers:
        signal.signal(number, stop)


def end(process: subprocess.Popen, first: signal.Signals = signal.SIGTERM) -> None:
    """Ends a process and all others of its group."""
    for number in (first, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)


def run(command: list, stop: signal.Signals = signal.SIGTERM, **options: Any) -> subprocess.CompletedProcess:
    """Runs a command to its end. Whatever it started ends with it, when this program is interrupted, too."""
    process = subprocess.Popen(list(map(str, command)), start_new_session=True, **options)
    try:
        output, errors = process.communicate()
    except BaseException:
        end(process, stop)
        raise
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


def free_port(address: str = LOOPBACK) -> int:
    with socket.create_server((address, 0)) as probe:
        return probe.getsockname()[1]


@contextmanager
def server(
    command: list, log: Path, port: int, stop: signal.Signals = signal.SIGTERM, **options: Any
) -> Iterator[subprocess.Popen]:
    """Runs a server on a loopback port until the block ends."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            list(map(str, command)),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **options,
        )
    try:
        deadline = time.monotonic() + 120
        while True:
            with suppress(OSError), socket.create_connection((LOOPBACK, port), 5):
                break
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"{command[0]} did not start:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.05)
        yield process
    finally:
        end(process, stop)


def client(service: str, endpoint: str, **config: Any) -> BaseClient:
    """A client of an emulator, which reads the account from the access key and checks no signature."""
    session = boto3.Session(aws_access_key_id=ACCOUNT, aws_secret_access_key="none", region_name=REGION)
    # The user's HTTP proxy cannot reach a loopback address.
    return session.client(service, endpoint_url=endpoint, config=Config(proxies={}, **config))


class SnsProxy(http.server.ThreadingHTTPServer):
    """Passes requests on to the emulator's SNS; keeps the parameters of each `Publish` by the ID of its message."""

    daemon_threads = True

    def __init__(self, target_port: int) -> None:
        super().__init__((LOOPBACK, 0), SnsProxyHandler)
        self.target_port = target_port
        self.published: dict[str, dict[str, str]] = {}
        self.url = f"http://{LOOPBACK}:{self.server_port}"
        threading.Thread(target=self.serve_forever, args=(0.1,), daemon=True).start()


class SnsProxyHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: SnsProxy

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        connection = http.client.HTTPConnection(LOOPBACK, self.server.target_port, timeout=60)
        connection.request("POST", self.path, body, dict(self.headers.items()))
        response = connection.getresponse()
        answer = response.read()
        connection.close()
        message_id = re.search(r"<MessageId>(.+?)</MessageId>", answer.decode())
        if message_id:
            self.server.published[message_id[1]] = dict(urllib.parse.parse_qsl(body.decode(), keep_blank_values=True))
        self.send_response(response.status)
        self.send_header("Content-Type", response.getheader("Content-Type", "text/xml"))
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


@dataclass
class Emulator:
    """A running MiniStack."""

    url: str
    log: Path
    process: subprocess.Popen
    sns: SnsProxy
    clients: dict[str, BaseClient] = field(default_factory=dict)

    def client(self, service: str) -> BaseClient:
        return self.clients.setdefault(service, client(service, self.url))

    def create_bucket(self, bucket: str) -> None:
        self.client("s3").create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})

    def put_object(self, bucket: str, key: str, body: bytes) -> None:
        self.client("s3").put_object(Bucket=bucket, Key=key, Body=body)

    def messages(self, queue_url: str) -> list[str]:
        """The bodies of all messages in a queue, which stay there."""
        url = f"{self.url}/_ministack/sqs/messages?{urllib.parse.urlencode({'QueueUrl': queue_url})}"
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=60) as answer:
            accounts = json.load(answer)["messages"]
        return [
            message["Body"]
            for regions in accounts.values()
            for queues in regions.values()
            for messages in queues.values()
            for message in messages
        ]

    def received(self, queue_url: str) -> dict[str, str]:
        """What a queue got from a topic: each message by its ID."""
        envelopes = map(json.loads, self.messages(queue_url))
        return {envelope["MessageId"]: envelope["Message"] for envelope in envelopes}

    def log_lines(self, group: str) -> list[str]:
        pages = self.client("logs").get_paginator("filter_log_events").paginate(logGroupName=group)
        return [event["message"] for page in pages for event in page["events"]]

    def upload(self, program: Path) -> None:
        """Puts the function's code where `deploy` takes it from."""
        archive = self.log.with_name("code.zip")
        pack(program, archive, zipfile.ZIP_STORED)
        self.create_bucket(CODE_BUCKET)
        self.put_object(CODE_BUCKET, "code.zip", archive.read_bytes())

    def deploy(self, stack: str, template: str = "template.yaml", **parameters: str) -> dict[str, str]:
        """Deploys a template of this project; returns the stack's outputs."""
        # It is too large for a request, as it is on AWS.
        self.put_object(CODE_BUCKET, "template.json", json.dumps(for_emulator(template)).encode())
        stacks = self.client("cloudformation")
        stacks.create_stack(
            StackName=stack,
            TemplateURL=f"{self.url}/{CODE_BUCKET}/template.json",
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
        )
        deadline = time.monotonic() + 60
        while True:
            (described,) = stacks.describe_stacks(StackName=stack)["Stacks"]
            if described["StackStatus"] == "CREATE_COMPLETE":
                return {output["OutputKey"]: output["OutputValue"] for output in described["Outputs"]}
            if not described["StackStatus"].endswith("_IN_PROGRESS") or time.monotonic() > deadline:
                events = stacks.describe_stack_events(StackName=stack)["StackEvents"]
                failed = [event for event in events if event["ResourceStatus"].endswith("_FAILED")]
                reasons = [f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason')}" for event in failed]
                sys.exit("\n".join([f"{template} was not deployed: {described['StackStatus']}", *reasons]))
            time.sleep(0.1)


@contextmanager
def emulator(work: Path) -> Iterator[Emulator]:
    """MiniStack, with its files in a folder, until the block ends."""
    port = free_port()
    url = f"http://{LOOPBACK}:{port}"
    kept = ("PATH", "LANG", "LC_ALL", "SSL_CERT_FILE", "SSL_CERT_DIR", "RUST_LOG", "RUST_BACKTRACE")
    with SnsProxy(port) as sns:
        environment = {name: os.environ[name] for name in kept if name in os.environ}
        environment |= {
            "HOME": str(work),
            "TMPDIR": str(work),
            "GATEWAY_PORT": str(port),
            "BIND_HOST": LOOPBACK,
            "MINISTACK_HOST": LOOPBACK,
            "MINISTACK_ACCOUNT_ID": ACCOUNT,
            "MINISTACK_REGION": REGION,
            "SERVICES": "s3,sns,sqs,lambda,dynamodb,events,monitoring,kms,cloudformation,logs,iam,sts",
            # It would open two more ports, and remove containers from a Docker that it finds.
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
            "DOCKER_HOST": "unix:///nonexistent",
            # For the function, which inherits them.
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": ACCOUNT,
            "AWS_SECRET_ACCESS_KEY": "none",
            "AWS_ENDPOINT_URL": url,
            "AWS_ENDPOINT_URL_SNS": sns.url,
        }
        log = work / "emulator.log"
        try:
            with server([TOOLS / "ministack/bin/ministack"], log, port, cwd=work, env=environment) as process:
                yield Emulator(url, log, process, sns)
        finally:
            sns.shutdown()


def for_emulator(name: str) -> dict:
    """A template without what MiniStack cannot make, and with a queue beside each subscription."""
    # Not in every environment that uses this file.
    from samtranslator.yaml_helper import yaml_parse

    template = yaml_parse((ROOT / name).read_text())
    resources, outputs = template["Resources"], template["Outputs"]
    # Besides whole types: alarms on an expression, which MiniStack's CloudWatch refuses.
    for key in [k for k, each in resources.items() if each["Type"] in NOT_EMULATED or "Metrics" in each["Properties"]]:
        del resources[key]
        for output in [each for each, value in outputs.items() if re.search(rf'"{key}["."]', json.dumps(value))]:
            del outputs[output]
    for name, condition in template.get("Conditions", {}).items():
        # MiniStack evaluates Fn::Split nowhere in conditions. These are about parameters that are not used here.
        if "Fn::Split" in json.dumps(condition):
            template["Conditions"][name] = {"Fn::Equals": ["used", "not used"]}
    for resource in resources.values():
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"]["CodeUri"] = f"s3://{CODE_BUCKET}/code.zip"
            # One attempt is enough to see a failure.
            resource["Properties"]["EventInvokeConfig"]["MaximumRetryAttempts"] = 0
    if "ChatTopic" in resources:
        add_queue(template, "ChatQueue", {"Ref": "ChatTopic"})
    for name in ("Email", "Sms"):
        if declared := resources.get(f"{name}Subscription"):
            topic = declared["Properties"]["TopicArn"]
            add_queue(template, f"{name}Queue", topic, Condition=declared["Condition"])
    if "EmailQueue" in resources:
        add_queue(template, "MachineQueue", resources["EmailSubscription"]["Properties"]["TopicArn"])
    return template


def add_queue(template: dict, name: str, topic: dict, **condition: str) -> None:
    properties = {"TopicArn": topic, "Protocol": "sqs", "Endpoint": {"Fn::GetAtt": [name, "Arn"]}}
    subscription = {"Type": "AWS::SNS::Subscription", "Properties": properties, **condition}
    template["Resources"] |= {name: {"Type": "AWS::SQS::Queue", **condition}, f"{name}Subscription": subscription}
    template["Outputs"][f"{name}Url"] = {"Value": {"Ref": name}, **condition}


def build() -> Path:
    """Builds the function as a developer does; returns its program. FUNCTION_PROGRAM names one that is built."""
    if program := os.environ.get("FUNCTION_PROGRAM"):
        return Path(program).resolve()
    command = ["cargo", "build", "--locked", "--package", "cloudhsm-alerts", "--bin", "bootstrap"]
    if run(command, cwd=ROOT).returncode != 0:
        sys.exit("the function does not build")
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug" / "bootstrap"
