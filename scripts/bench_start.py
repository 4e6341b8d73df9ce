"""How long the function takes from the start of its process to its first request for work, what the first TLS
connection adds, and how large it is: `make bench-start`.

Stands in for Lambda's runtime interface and for S3 on loopback ports, so that nothing but the program is measured. It
is compared with a program that does nothing (/bin/true), and with S3 without TLS.
"""

import argparse
import http.server
import json
import os
import shutil
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import size

STARTS = 41
KEY = "AWSLogs/111122223333/CloudTrail/us-west-2/2026/11/23/111122223333_CloudTrail_us-west-2_20261123T0355Z_a.json.gz"
RECORD = {"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "awsRegion": "us-west-2"}
NOTIFICATION = {"Records": [{**RECORD, "s3": {"bucket": {"name": "b"}, "object": {"key": KEY}}}]}
INVOCATION = {
    "Lambda-Runtime-Aws-Request-Id": "8476a536-e9f4-11e8-9739-2dfe598c3fcd",
    "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:us-west-2:111122223333:function:f",
}
ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "AWS_LAMBDA_FUNCTION_NAME": "f",
    "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
    "AWS_LAMBDA_LOG_GROUP_NAME": "g",
    "AWS_LAMBDA_LOG_STREAM_NAME": "s",
    "AWS_REGION": "us-west-2",
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "x",
    "ALERT_TOPIC_ARN": "arn:aws:sns:us-west-2:111122223333:alerts",
}


class Server(http.server.ThreadingHTTPServer):
    """Notes when it gets its first request; may hand out one invocation, and answers nothing else."""

    daemon_threads = True

    def __init__(self, certificate: Path | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.reset()
        self.scheme = "https" if certificate else "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def reset(self, payload: dict | None = None) -> None:
        self.payload, self.at = payload, 0.0
        self.requested, self.ended = threading.Event(), threading.Event()


class Handler(http.server.BaseHTTPRequestHandler):
    # Head and body at once: a body sent after the head would wait for the head's acknowledgement.
    wbufsize = -1
    disable_nagle_algorithm = True
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        server = self.server
        if not server.requested.is_set():
            server.at = time.perf_counter()
            server.requested.set()
        if "/invocation/next" in self.path and server.payload is not None:
            body = json.dumps(server.payload).encode()
            server.payload = None
            deadline = str(int(time.time() * 1000) + 60_000)
            headers = INVOCATION | {"Lambda-Runtime-Deadline-Ms": deadline, "Content-Length": str(len(body))}
            self.send_response(200)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
            self.wfile.flush()
        else:
            # Neither more work nor an object: the program is ended while it waits.
            server.ended.wait()


def once(program: Path, runtime: Server, storage: Server | None = None, authority: Path | None = None) -> float:
    """Seconds to the first request for work or, with a stand-in for S3, to the first for an object."""
    runtime.reset(NOTIFICATION if storage else None)
    environment = ENVIRONMENT | {"AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{runtime.server_port}"}
    if storage:
        storage.reset()
        environment["AWS_ENDPOINT_URL"] = f"{storage.scheme}://127.0.0.1:{storage.server_port}"
        # With and without TLS, so that reading the machine's own authorities counts in neither.
        environment["SSL_CERT_FILE"] = str(authority)
    waited_for = storage or runtime
    begin = time.perf_counter()
    child = subprocess.Popen([program], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        if not waited_for.requested.wait(10):
            sys.exit(f"{program} made no request: run it by hand")
        return waited_for.at - begin
    finally:
        child.kill()
        child.wait()
        for server in filter(None, [runtime, storage]):
            server.ended.set()


def certificate(folder: Path) -> Path:
    """A certificate for the loopback address that is its own authority, with its key."""
    both = folder / "both.pem"
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", both, "-out", both]
    # One that may sign others is not taken for a server's.
    names = ["-subj", "/CN=storage", "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=CA:FALSE"]
    subprocess.run(["openssl", "req", "-x509", *key, *names], check=True, capture_output=True)
    return both


def report(what: str, times: list[float]) -> None:
    print(f"{what + ':':<43} {statistics.median(times) * 1e3:.1f} ms (best {min(times) * 1e3:.1f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", nargs="?", type=Path, default=size.PROGRAM)
    program = parser.parse_args().program
    if not program.exists():
        sys.exit(f"{program} is not there: run `make build`")
    runtime = Server()
    starts, nothing = [], []
    for _ in range(STARTS):
        starts.append(once(program, runtime))
        begin = time.perf_counter()
        subprocess.run(["/bin/true"], check=True)
        nothing.append(time.perf_counter() - begin)
    report("a program that does nothing", nothing)
    report("start to the first request for work", starts)
    if shutil.which("openssl"):
        with tempfile.TemporaryDirectory() as folder:
            own = certificate(Path(folder))
            plain, secure = Server(), Server(own)
            without, with_tls = [], []
            for _ in range(STARTS):
                without.append(once(program, runtime, plain, own))
                with_tls.append(once(program, runtime, secure, own))
        report("start to the first request for an object", without)
        report("the same with TLS", with_tls)
        added = statistics.median(with_tls) - statistics.median(without)
        print(f"{'the first TLS connection adds:':<43} {added * 1e3:.1f} ms")
    else:
        print("TLS is not measured: openssl is not installed")
    print(size.line(*size.sizes(program)))


if __name__ == "__main__":
    main()
