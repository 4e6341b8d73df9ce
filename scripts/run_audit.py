"""Three hours of a trail with digest files, of which one log file was altered: the end of `make run`.

Writes the folder target/audit as `aws s3 sync` would copy it, signed with the test key, and a list of public keys as
`aws cloudtrail list-public-keys` prints it. The arguments are the command that audits it. openssl signs.
"""

import base64
import gzip
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
KEY = ROOT / "crates" / "test-support" / "keys" / "digest-first.pk8"
FOLDER = ROOT / "target" / "audit"
BUCKET, ACCOUNT, REGION, DAY = "cloudhsm-alerts-trail", "111122223333", "us-west-2", "2026-11-23"
SAMPLE = json.loads((ROOT / "events" / "log-files" / "cloudhsm-calls.json").read_text())["Records"]


def openssl(*arguments: str, data: bytes = b"") -> bytes:
    command = ["openssl", *arguments, "-inform", "DER"] if arguments[0] == "rsa" else ["openssl", *arguments]
    return subprocess.run(command, input=data, check=True, capture_output=True).stdout


def put(kind: str, name: str, content: bytes) -> str:
    key = f"AWSLogs/{ACCOUNT}/{kind}/{REGION}/{DAY.replace('-', '/')}/{name}.json.gz"
    path = FOLDER / "copy" / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content, mtime=0))
    return key


def main() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    public_key = openssl("rsa", "-in", str(KEY), "-RSAPublicKey_out", "-outform", "DER")
    fingerprint = hashlib.md5(public_key).hexdigest()
    previous = dict.fromkeys(("S3Bucket", "S3Object", "HashValue", "HashAlgorithm", "Signature"))
    log_files = []
    for hour in (4, 5, 6):
        content = json.dumps({"Records": SAMPLE[hour - 4 :: 3]}).encode()
        stamp = DAY.replace("-", "")
        log_file = put(
            "CloudTrail", f"{ACCOUNT}_CloudTrail_{REGION}_{stamp}T0{hour - 1}55Z_Kd83hFq0aPzW61L{hour}", content
        )
        log_files.append(log_file)
        name = f"{ACCOUNT}_CloudTrail-Digest_{REGION}_trail_{REGION}_{stamp}T0{hour}0000Z"
        end = f"{DAY}T0{hour}:00:00Z"
        digest = {
            "awsAccountId": ACCOUNT,
            "digestStartTime": f"{DAY}T0{hour - 1}:00:00Z",
            "digestEndTime": end,
            "digestS3Bucket": BUCKET,
            "digestS3Object": f"AWSLogs/{ACCOUNT}/CloudTrail-Digest/{REGION}/{DAY.replace('-', '/')}/{name}.json.gz",
            "digestPublicKeyFingerprint": fingerprint,
            "digestSignatureAlgorithm": "SHA256withRSA",
            "newestEventTime": f"{DAY}T0{hour - 1}:47:00Z",
            "oldestEventTime": f"{DAY}T0{hour - 1}:40:00Z",
            **{f"previousDigest{name}": value for name, value in previous.items()},
            "logFiles": [
                {
                    "s3Bucket": BUCKET,
                    "s3Object": log_file,
                    "hashValue": hashlib.sha256(content).hexdigest(),
                    "hashAlgorithm": "SHA-256",
                    "newestEventTime": f"{DAY}T0{hour - 1}:47:00Z",
                    "oldestEventTime": f"{DAY}T0{hour - 1}:40:00Z",
                }
            ],
        }
        document = json.dumps(digest).encode()
        key = put("CloudTrail-Digest", name, document)
        digest_hash = hashlib.sha256(document).hexdigest()
        text = f"{end}\n{BUCKET}/{key}\n{digest_hash}\n{previous['Signature'] or 'null'}"
        signature = openssl("dgst", "-sha256", "-keyform", "DER", "-sign", str(KEY), data=text.encode())
        previous = dict(zip(previous, (BUCKET, key, digest_hash, "SHA-256", signature.hex()), strict=True))
    # To hide a call, its record is removed.
    altered = FOLDER / "copy" / log_files[1]
    records = json.loads(gzip.decompress(altered.read_bytes()))["Records"][1:]
    altered.write_bytes(gzip.compress(json.dumps({"Records": records}).encode(), mtime=0))
    listed = {"Value": base64.b64encode(public_key).decode(), "Fingerprint": fingerprint}
    listed |= {"ValidityStartTime": "2026-01-01T00:00:00Z", "ValidityEndTime": "2027-01-01T00:00:00Z"}
    (FOLDER / "keys.json").write_text(json.dumps({"PublicKeyList": [listed]}))
    options = ["--public-keys", FOLDER / "keys.json", "--as", f"s3://{BUCKET}", "--to", f"{DAY}T06:00:00Z"]
    ended = subprocess.run([*sys.argv[1:], "audit", FOLDER / "copy", *options], check=False)
    # 1: something is wrong, which it is here.
    sys.exit(
        0
        if ended.returncode == 1
        else f"run: expected that the audit finds the altered log file, found exit code {ended.returncode}"
    )


if __name__ == "__main__":
    main()
