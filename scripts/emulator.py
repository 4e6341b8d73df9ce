"""An AWS of one's own, for one run: MiniStack on a loopback port, and before its SNS
a recorder.

The emulator stores objects, sends the bucket's notification to the function, runs the
function's real program as a process, and delivers to queues by filter policy. E-mail
and SMS it accepts and drops, so what they would have said is read one step earlier:
the function sends its SNS calls to the recorder, which passes each on unchanged and
keeps what was published.

Nothing here leaves 127.0.0.1, and `Emulator` leaves nothing running behind.
"""

import http.client
import http.server
import json
import os
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import xml.etree.ElementTree as ElementTree

from processes import end, start

LOOPBACK = "127.0.0.1"
SERVICES = "s3,sns,sqs,lambda,dynamodb,events,monitoring,kms,cloudformation,logs,iam,sts"


class EmulatorError(Exception):
    """Why the emulator could not do it, in words for the person at the terminal."""


class Publication:
    """One message as the function published it: a text for each protocol."""

    def __init__(self, message_id, fields):
        self.message_id = message_id
        self.subject = fields.get("Subject", "")
        self.texts = {"default": fields.get("Message", "")}
        if fields.get("MessageStructure") == "json":
            self.texts = json.loads(fields["Message"])
        self.attributes = {}
        number = 1
        # `Publish` calls the list entry, `PublishBatch` member.
        while True:
            for prefix in ("MessageAttributes.entry.{}.", "MessageAttributes.member.{}."):
                name = fields.get(prefix.format(number) + "Name")
                if name is not None:
                    self.attributes[name] = fields.get(prefix.format(number) + "Value.StringValue", "")
                    break
            else:
                break
            number += 1

    def text(self, protocol):
        return self.texts.get(protocol, self.texts["default"])


class SnsRecorder:
    """Stands before the emulator's SNS and keeps every message that SNS accepted."""

    def __init__(self):
        self.publications = []
        self.target_port = None
        recorder = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                connection = http.client.HTTPConnection(LOOPBACK, recorder.target_port, timeout=60)
                try:
                    connection.request("POST", self.path, body, dict(self.headers.items()))
                    response = connection.getresponse()
                    answer = response.read()
                except (OSError, http.client.HTTPException) as error:
                    # The function's client takes it for an SNS that is down.
                    self.send_error(503, "no answer from the emulator: {}".format(error))
                    return
                finally:
                    connection.close()
                if response.status == 200:
                    recorder.keep(body, answer)
                self.send_response(response.status)
                self.send_header("Content-Type", response.getheader("Content-Type", "text/xml"))
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer((LOOPBACK, 0), Handler)
        self.server.daemon_threads = True
        self.url = "http://{}:{}".format(LOOPBACK, self.server.server_address[1])
        threading.Thread(target=self.server.serve_forever, args=(0.1,), daemon=True).start()

    def keep(self, body, answer):
        fields = dict(urllib.parse.parse_qsl(body.decode(), keep_blank_values=True))
        if fields.get("Action") == "Publish":
            message_id = element_text(parse_xml(answer), "MessageId")
            self.publications.append(Publication(message_id, fields))
        elif fields.get("Action") == "PublishBatch":
            entries = {}
            for name, value in fields.items():
                parts = name.split(".", 3)
                if len(parts) == 4 and parts[0] == "PublishBatchRequestEntries":
                    entries.setdefault(parts[2], {})[parts[3]] = value
            by_id = {entry.get("Id"): entry for entry in entries.values()}
            for accepted in parse_xml(answer).iter("Successful"):
                for member in accepted.iter("member"):
                    entry = by_id[element_text(member, "Id")]
                    self.publications.append(Publication(element_text(member, "MessageId"), entry))

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Emulator:
    """A running MiniStack with an account and a region; ends with its `with` block."""

    def __init__(self, environment_folder, work_folder, account, region):
        self.program = environment_folder / "bin" / "ministack"
        self.work = work_folder
        self.account = account
        self.region = region
        self.log = work_folder / "emulator.log"
        self.process = None
        self.recorder = None
        # An HTTP proxy of the user's has no business with a loopback address.
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def __enter__(self):
        try:
            self.recorder = SnsRecorder()
            # Between finding a free port and taking it another program may be faster.
            for _ in range(5):
                if self.start():
                    return self
            raise EmulatorError("the emulator did not start:\n" + self.log_tail())
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_):
        self.stop()
        if self.recorder is not None:
            self.recorder.close()

    def start(self):
        self.port = free_port()
        self.url = "http://{}:{}".format(LOOPBACK, self.port)
        self.recorder.target_port = self.port
        with open(str(self.log), "wb") as log:
            # A group of its own: the function runs inside it and ends with it.
            self.process = start(
                [self.program],
                cwd=str(self.work),
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                self.opener.open(self.url + "/_ministack/health", timeout=5).close()
                return True
            except (OSError, http.client.HTTPException):
                time.sleep(0.05)
        self.stop()
        return False

    def environment(self):
        """All the emulator, and so the function, sees: nothing of the user's AWS settings."""
        kept = ("PATH", "LANG", "LC_ALL", "SSL_CERT_FILE", "SSL_CERT_DIR", "RUST_LOG", "RUST_BACKTRACE")
        environment = {name: os.environ[name] for name in kept if name in os.environ}
        environment.update(
            HOME=str(self.work),
            TMPDIR=str(self.work),
            GATEWAY_PORT=str(self.port),
            BIND_HOST=LOOPBACK,
            MINISTACK_HOST=LOOPBACK,
            MINISTACK_ACCOUNT_ID=self.account,
            MINISTACK_REGION=self.region,
            SERVICES=SERVICES,
            # It would open two more ports, and remove containers from a Docker it finds.
            IOT_MTLS_ENABLED="0",
            SFTP_ENABLED="0",
            DOCKER_HOST="unix:///nonexistent",
            # What follows it hands on to the function.
            AWS_REGION=self.region,
            AWS_DEFAULT_REGION=self.region,
            AWS_ACCESS_KEY_ID=self.account,
            AWS_SECRET_ACCESS_KEY="none",
            AWS_ENDPOINT_URL=self.url,
            AWS_ENDPOINT_URL_SNS=self.recorder.url,
        )
        return environment

    def stop(self):
        if self.process is None:
            return
        # The function runs in the emulator's group, which may outlive the emulator.
        end(self.process, ((signal.SIGTERM, 5), (signal.SIGKILL, 5)))
        self.process = None

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def log_tail(self, lines=20):
        try:
            text = self.log.read_text(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def request(self, service, method, path, body=None, headers=None):
        # The emulator reads account and region from the credential and checks no signature.
        scope = "{}/20261123/{}/{}/aws4_request".format(self.account, self.region, service)
        authorization = "AWS4-HMAC-SHA256 Credential={}, SignedHeaders=host, Signature=0".format(scope)
        request = urllib.request.Request(self.url + path, data=body, method=method)
        request.add_header("Authorization", authorization)
        for name, value in (headers or {}).items():
            request.add_header(name, value)
        try:
            with self.opener.open(request, timeout=120) as response:
                return response.read()
        except urllib.error.HTTPError as error:
            detail = error.read().decode(errors="replace")
            raise EmulatorError("the emulator's {} refused {} {}: {}".format(service, method, path, detail))
        except (OSError, http.client.HTTPException) as error:
            raise EmulatorError("no answer from the emulator: {}\n{}".format(error, self.log_tail()))

    def query(self, service, version, action, **parameters):
        """A call in the form that CloudFormation speaks."""
        form = dict(parameters, Action=action, Version=version)
        body = urllib.parse.urlencode(form).encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return parse_xml(self.request(service, "POST", "/", body, headers))

    def put_object(self, bucket, key, body):
        self.request("s3", "PUT", "/{}/{}".format(bucket, urllib.parse.quote(key)), body)

    def create_bucket(self, bucket):
        place = "<CreateBucketConfiguration><LocationConstraint>{}</LocationConstraint></CreateBucketConfiguration>"
        self.request("s3", "PUT", "/" + bucket, place.format(self.region).encode())

    def messages(self, queue_url):
        """The bodies of all messages in a queue, which stay there."""
        path = "/_ministack/sqs/messages?" + urllib.parse.urlencode({"QueueUrl": queue_url})
        answer = json.loads(self.request("sqs", "GET", path))
        return [
            message["Body"]
            for regions in answer["messages"].values()
            for queues in regions.values()
            for messages in queues.values()
            for message in messages
        ]

    def log_lines(self, group):
        headers = {
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": "Logs_20140328.FilterLogEvents",
        }
        question, lines = {"logGroupName": group}, []
        while True:
            body = json.dumps(question).encode()
            answer = json.loads(self.request("logs", "POST", "/", body, headers))
            lines += [event["message"] for event in answer["events"]]
            if not answer.get("nextToken"):
                return lines
            question["nextToken"] = answer["nextToken"]

    def create_stack(self, name, template_url, parameters):
        """Deploys a template that lies in a bucket; returns its outputs."""
        form = {"StackName": name, "TemplateURL": template_url}
        for number, capability in enumerate(("CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"), 1):
            form["Capabilities.member.{}".format(number)] = capability
        for number, (key, value) in enumerate(parameters.items(), 1):
            form["Parameters.member.{}.ParameterKey".format(number)] = key
            form["Parameters.member.{}.ParameterValue".format(number)] = value
        self.query("cloudformation", "2010-05-15", "CreateStack", **form)
        deadline = time.monotonic() + 60
        while True:
            described = self.query("cloudformation", "2010-05-15", "DescribeStacks", StackName=name)
            status = element_text(described, "StackStatus")
            if status == "CREATE_COMPLETE":
                return {
                    element_text(output, "OutputKey"): element_text(output, "OutputValue")
                    for outputs in described.iter("Outputs")
                    for output in outputs.iter("member")
                }
            if not status.endswith("_IN_PROGRESS") or time.monotonic() > deadline:
                raise EmulatorError("the template was not deployed ({}):\n{}".format(status, self.reasons(name)))
            time.sleep(0.1)

    def reasons(self, stack):
        events = self.query("cloudformation", "2010-05-15", "DescribeStackEvents", StackName=stack)
        return "\n".join(
            "  {}: {}".format(
                element_text(event, "LogicalResourceId"), element_text(event, "ResourceStatusReason")
            )
            for event in events.iter("member")
            if element_text(event, "ResourceStatus").endswith("_FAILED")
        )


def free_port(address=LOOPBACK):
    with socket.socket() as probe:
        probe.bind((address, 0))
        return probe.getsockname()[1]


def parse_xml(body):
    """The document without its namespaces, of which each service has its own."""
    root = ElementTree.fromstring(body)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


def element_text(element, name):
    found = element.find(".//" + name)
    return (found.text or "") if found is not None else ""
