#!/usr/bin/env python3
"""`make test-sam`: the function in Lambda's own container, as `sam local` runs it.

Builds with `sam build`, then gives every payload of `events/` to `sam local invoke`, and
some to a running `sam local start-lambda`. S3, SNS and DynamoDB are moto's, listening
where the container reaches them. Replies are compared whole with EXPECTED below, and what
was published with the calls that the payload leads to.

Docker is used where there is an engine. Where there is none, Debian's package is installed
(as root only) and an engine is started that keeps everything under target/ and ends with
this script. Lambda's base image is taken as it is found in the engine; PULL=1 fetches it.
Otherwise a stand-in is made of Debian's packages, so that the test needs no image registry.

    make test-sam                 with the function as `make test` builds it
    make test-sam PROFILE=release with the function as it is deployed
    make test-sam EVENT=path      one payload of yours: shows the reply and who was told what
"""

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

sys.dont_write_bytecode = True

from emulator import free_port
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


def say(text):
    print("test-sam: " + text, file=sys.stderr, flush=True)


def output_of(command, **options):
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
    if result.returncode != 0:
        raise SamError("{} failed ({}):\n{}".format(" ".join(map(str, command)), result.returncode, result.stderr[-2000:]))
    return result.stdout


class Process:
    """A server that ends with its `with` block, and every process it started with it."""

    def __init__(self, command, log, environment, is_up, patience=120):
        self.command, self.log, self.environment, self.is_up, self.patience = command, log, environment, is_up, patience

    def __enter__(self):
        with open(str(self.log), "wb") as log:
            self.process = subprocess.Popen(
                self.command, env=self.environment, cwd=str(ROOT),
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )
        try:
            deadline = time.monotonic() + self.patience
            while not self.is_up():
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise SamError("{} did not start:\n{}".format(self.command[0], self.log.read_text(errors="replace")[-2000:]))
                time.sleep(0.1)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for kind, patience in ((signal.SIGTERM, 20), (signal.SIGKILL, 5)):
            if self.process.poll() is not None:
                break
            os.killpg(self.process.pid, kind)
            try:
                self.process.wait(patience)
            except subprocess.TimeoutExpired:
                continue


def answers(url):
    try:
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5).close()
        return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


# ---- Docker ---------------------------------------------------------------------------


class Engine:
    """A Docker engine: the one that is there, or one of our own."""

    def __init__(self, work):
        self.work = work
        self.process = None
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "SAM_"))}

    def __enter__(self):
        if shutil.which("docker") and self.is_up():
            return self
        if shutil.which("dockerd") is None or shutil.which("docker") is None:
            install_docker()
        say("starting a Docker engine of its own ...")
        # A socket's path has at most some hundred characters, which target/ may exceed.
        self.run = Path(tempfile.mkdtemp(prefix="sam-"))
        self.environment["DOCKER_HOST"] = "unix://{}/docker.sock".format(self.run)
        data = ROOT / "target" / "docker"
        data.mkdir(parents=True, exist_ok=True)
        self.process = Process(
            ["dockerd", "--host", self.environment["DOCKER_HOST"], "--data-root", str(data),
             "--exec-root", str(self.run / "exec"), "--pidfile", str(self.run / "dockerd.pid")],
            self.work / "dockerd.log", self.environment, self.is_up,
        )
        self.process.__enter__()
        return self

    def __exit__(self, *_):
        if self.process is not None:
            self.process.__exit__()
            shutil.rmtree(str(self.run), ignore_errors=True)

    def is_up(self):
        return subprocess.run(
            ["docker", "info"], env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ).returncode == 0

    def docker(self, *arguments, **options):
        return output_of(["docker", *arguments], env=self.environment, **options)

    def gateway(self):
        """The address at which a container reaches this machine."""
        described = self.docker("network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}").strip()
        return described or "172.17.0.1"


def install_docker():
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise SamError("no Docker engine answers; start one, or install one (on Debian and Ubuntu: apt-get install docker.io)")
    say("installing Docker from the distribution's packages ...")
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    for command in (["apt-get", "update", "-q"], ["apt-get", "install", "-qy", "--no-install-recommends", "docker.io", "iptables"]):
        result = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if result.returncode != 0:
            raise SamError("{} failed:\n{}".format(" ".join(command), result.stdout[-2000:]))


def base_image(engine, sam):
    """Lambda's base image as SAM calls it; made of Debian's packages where it is not there."""
    ask = (
        "from samcli.local.docker.lambda_image import LambdaImage, Runtime; "
        "print(LambdaImage._INVOKE_REPO_PREFIX + '/' + Runtime.get_image_name_tag('provided.al2023', 'x86_64'))"
    )
    name = output_of([str(sam / "bin" / "python"), "-I", "-c", ask]).strip()
    if os.environ.get("PULL", "") not in ("", "0"):
        say("pulling {} ...".format(name))
        engine.docker("pull", name)
    elif subprocess.run(
        ["docker", "image", "inspect", name], env=engine.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ).returncode != 0:
        say("making a stand-in for {} of the distribution's packages ...".format(name))
        with tempfile.TemporaryDirectory(dir=str(ROOT / "target")) as folder:
            stand_in(engine, name, Path(folder))


def stand_in(engine, name, folder):
    """C library, a shell and certificates: what a compiled function and SAM's own start need."""
    packages, root = folder / "packages", folder / "root"
    packages.mkdir()
    # apt fetches as a user of its own where it may.
    packages.chmod(0o777)
    output_of(["apt-get", "download", "busybox-static", "libc6", "libgcc-s1"], cwd=str(packages))
    for package in packages.glob("*.deb"):
        output_of(["dpkg-deb", "-x", str(package), str(root)])
    for path in ("tmp", "var/task", "var/runtime", "var/rapid", "opt", "etc/ssl/certs", "root", "proc", "sys", "dev"):
        (root / path).mkdir(parents=True, exist_ok=True)
    (root / "tmp").chmod(0o1777)
    for applet in ("sh", "mv", "chmod", "cp", "rm", "ls", "cat", "mkdir"):
        link = root / "bin" / applet
        if not link.exists():
            link.symlink_to("busybox")
    certificates = Path("/etc/ssl/certs/ca-certificates.crt")
    if certificates.exists():
        shutil.copyfile(str(certificates), str(root / "etc/ssl/certs/ca-certificates.crt"))
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    tar = subprocess.Popen(["tar", "-C", str(root), "-c", "."], stdout=subprocess.PIPE)
    subprocess.run(
        ["docker", "import", "--platform", "linux/amd64", "--change", "WORKDIR /var/task", "-", name],
        stdin=tar.stdout, env=engine.environment, stdout=subprocess.DEVNULL, check=True,
    )
    if tar.wait() != 0:
        raise SamError("the stand-in's files could not be packed")


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
    def __init__(self, folder, engine, work, endpoint):
        self.program = str(folder / "bin" / "sam")
        self.python = str(folder / "bin" / "python")
        self.work = work
        # With credentials of the user's in its environment, SAM looks them up at AWS first.
        self.environment = dict(
            engine.environment, SAM_CLI_TELEMETRY="0", AWS_DEFAULT_REGION=REGION,
            AWS_CONFIG_FILE=os.devnull, AWS_SHARED_CREDENTIALS_FILE=os.devnull,
        )
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
        result = subprocess.run(
            [self.program, "build", "--build-dir", str(self.work / "build"), "--cache-dir", str(self.work / "cache")],
            cwd=str(ROOT), env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        if result.returncode != 0:
            raise SamError("sam build failed:\n" + result.stdout[-4000:])
        self.template = self.work / "build" / "template.yaml"

    def local(self, command, *arguments):
        return [
            self.program, "local", command, "--template", str(self.template), "--env-vars", str(self.variables),
            "--skip-pull-image", "--add-host", "host.docker.internal:host-gateway", "--region", REGION, *arguments,
        ]

    def invoke(self, event):
        """`sam local invoke` ends with 0 even when the function failed: the reply says it."""
        result = subprocess.run(
            self.local("invoke", "--event", str(event), FUNCTION),
            cwd=str(ROOT), env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        try:
            return json.loads(result.stdout.strip().splitlines()[-1]), result.stderr
        except (IndexError, ValueError):
            raise SamError("sam local invoke gave no reply to {}:\n{}\n{}".format(event.name, result.stdout, result.stderr[-4000:]))


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
    url = "http://127.0.0.1:{}/2015-03-31/functions/{}/invocations".format(port, FUNCTION)
    command = sam.local("start-lambda", "--warm-containers", "EAGER", "--host", "127.0.0.1", "--port", str(port))
    with Process(command, sam.work / "start-lambda.log", sam.environment, lambda: answers("http://127.0.0.1:{}/".format(port))):
        replies = []
        for name in ("s3-put.json", "sns-s3-put.json"):
            request = urllib.request.Request(url, data=(ROOT / "events" / name).read_bytes(), method="POST")
            with moto.opener.open(request, timeout=120) as response:
                replies.append(json.loads(response.read()))
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
    (ROOT / "target").mkdir(exist_ok=True)
    sam_folder, moto_folder = ensure("sam"), ensure("moto")
    with tempfile.TemporaryDirectory(prefix="sam-", dir=str(ROOT / "target")) as folder:
        work = Path(folder)
        with Engine(work) as engine:
            base_image(engine, sam_folder)
            address, port = engine.gateway(), free_port()
            url = "http://{}:{}".format(address, port)
            server = [str(moto_folder / "bin" / "moto_server"), "-H", address, "-p", str(port)]
            with Process(server, work / "moto.log", engine.environment, lambda: answers(url + "/moto-api/")):
                sam, moto = Sam(sam_folder, engine, work, url), Moto(url)
                sam.build()
                if event is not None:
                    return show(sam, moto, event)
                wrong = test(sam, moto) + test_running(sam, moto)
    if wrong:
        raise SamError("not as expected: " + ", ".join(wrong))
    say("all of events/ in Lambda's container, as expected")


def main():
    Interruption()
    chosen = os.environ.get("EVENT")
    try:
        run(Path(chosen).resolve() if chosen else None)
    except (SamError, ToolsError) as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
