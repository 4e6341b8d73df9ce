"""How long the function takes from the start of its process to its first request for work, what the first TLS
connection adds, and how large it is: `make bench-start`, or `python3 scripts/bench_start.py [PROGRAM]`.

Stands in for Lambda's runtime interface and for S3 on loopback ports, so that nothing but the program is
measured. What it is compared with is a program that does nothing (/bin/true), and S3 without TLS.
"""

import http.server
import json
import os
import pathlib
import shutil
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import size

PROJECT = pathlib.Path(__file__).resolve().parent.parent
STARTS = 41
KEY = "AWSLogs/111122223333/CloudTrail/us-west-2/2026/11/23/111122223333_CloudTrail_us-west-2_20261123T0355Z_a.json.gz"
NOTIFICATION = {
    "Records": [
        {
            "eventSource": "aws:s3",
            "eventName": "ObjectCreated:Put",
            "awsRegion": "us-west-2",
            "s3": {"bucket": {"name": "b"}, "object": {"key": KEY}},
        }
    ]
}


class Asked:
    """Notes when something is asked for the first time."""

    def __init__(self):
        self.event = threading.Event()
        self.at = 0.0

    def note(self):
        if not self.event.is_set():
            self.at = time.perf_counter()
            self.event.set()

    def since(self, begin, program):
        if not self.event.wait(10):
            sys.exit("{} did not ask: run it by hand".format(program))
        return self.at - begin


class Handler(http.server.BaseHTTPRequestHandler):
    # Head and body at once: a body behind the head would wait for the head's acknowledgement.
    wbufsize = -1
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.server.asked.note()
        if "/invocation/next" in self.path and self.server.event is not None:
            body = json.dumps(self.server.event).encode()
            self.server.event = None
            self.send_response(200)
            self.send_header("Lambda-Runtime-Aws-Request-Id", "8476a536-e9f4-11e8-9739-2dfe598c3fcd")
            self.send_header("Lambda-Runtime-Deadline-Ms", str(int(time.time() * 1000) + 60_000))
            self.send_header("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:us-west-2:111122223333:function:f")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            self.wfile.flush()
        else:
            # Neither more work nor an object: the program is ended while it waits.
            self.server.ended.wait()


def serve(certificate=None):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.event, server.asked, server.ended = None, Asked(), threading.Event()
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def once(program, runtime, storage=None, authority=None, tls=False):
    """Seconds to the first request for work or, with a stand-in for S3, to the first for an object."""
    waited_for = storage or runtime
    for server in filter(None, [runtime, storage]):
        server.asked, server.ended = Asked(), threading.Event()
    runtime.event = NOTIFICATION if storage else None
    environment = {
        "PATH": os.environ["PATH"],
        "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:{}".format(runtime.server_port),
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
    if storage:
        scheme = "https" if tls else "http"
        environment["AWS_ENDPOINT_URL"] = "{}://127.0.0.1:{}".format(scheme, storage.server_port)
    if authority:
        # Both ways, so that reading the machine's own authorities counts in neither.
        environment["SSL_CERT_FILE"] = str(authority)
    begin = time.perf_counter()
    child = subprocess.Popen([program], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        return waited_for.asked.since(begin, program)
    finally:
        child.kill()
        child.wait()
        for server in filter(None, [runtime, storage]):
            server.ended.set()


def certificate(folder):
    """An authority, and a certificate of it for the loopback address, with its key."""

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    openssl("req", "-x509", *curve, "-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.pem")
    openssl("req", *curve, "-subj", "/CN=storage", "-keyout", "leaf.key", "-out", "leaf.csr")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    openssl("x509", "-req", "-in", "leaf.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names", "-out", "leaf.pem")
    both = folder / "both.pem"
    both.write_text((folder / "leaf.pem").read_text() + (folder / "leaf.key").read_text())
    return folder / "ca.pem", both


def milliseconds(times):
    return "{:.1f} ms (best {:.1f})".format(statistics.median(times) * 1e3, min(times) * 1e3)


def main():
    program = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else PROJECT / "target" / "release" / "bootstrap")
    if not program.exists():
        sys.exit("{} is not there: run `make build`".format(program))
    runtime = serve()
    starts, nothing = [], []
    for _ in range(STARTS):
        starts.append(once(program, runtime))
        begin = time.perf_counter()
        subprocess.run(["/bin/true"], check=True)
        nothing.append(time.perf_counter() - begin)
    print("a program that does nothing:                {}".format(milliseconds(nothing)))
    print("start to the first request for work:        {}".format(milliseconds(starts)))
    if shutil.which("openssl"):
        with tempfile.TemporaryDirectory() as folder:
            authority, both = certificate(pathlib.Path(folder))
            plain, secure = serve(), serve(both)
            without, with_tls = [], []
            for _ in range(STARTS):
                without.append(once(program, runtime, plain, authority))
                with_tls.append(once(program, runtime, secure, authority, tls=True))
        print("start to the first request for an object:   {}".format(milliseconds(without)))
        print("the same with TLS:                          {}".format(milliseconds(with_tls)))
        added = statistics.median(with_tls) - statistics.median(without)
        print("the first TLS connection adds:              {:.1f} ms".format(added * 1e3))
    else:
        print("TLS is not measured: openssl is not installed")
    print(size.line(*size.sizes(program)))


if __name__ == "__main__":
    main()
