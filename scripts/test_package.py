"""What a release consists of: each archive holds the program and nothing of the day, and each template is the one in
git, but for the zip it names and the instruction set it has, and is taken by SAM as it is: `make test-package`."""

import io
import os
import subprocess
import sys
import tarfile
import tempfile
import time
import unittest
import unittest.mock
import zipfile
from collections.abc import Callable
from pathlib import Path

from samtranslator.yaml_helper import yaml_parse

import package
from emulator import LOOPBACK, REGION, ROOT, TOOLS, client, free_port, server

FUNCTIONS = {"template.yaml": "CloudHsmAlertsFunction", "chat.yaml": "ChatFunction"}


class Test(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.program = self.folder / "cloudhsm-alerts"
        self.program.write_bytes(b"\x7fELF" + bytes(range(256)) * 64)


class Archives(Test):
    def twice(self, pack_it: Callable[[Path, Path], None]) -> io.BytesIO:
        """The archive of a program, and of the same one later, under other rights and elsewhere."""
        pack_it(self.program, self.folder / "first")
        (self.folder / "elsewhere").mkdir()
        later = self.folder / "elsewhere" / self.program.name
        later.write_bytes(self.program.read_bytes())
        later.chmod(0o600)
        tomorrow = time.time() + 86400
        os.utime(later, (tomorrow, tomorrow))
        with unittest.mock.patch("time.time", return_value=tomorrow):
            pack_it(later, self.folder / "elsewhere" / "second")
        first, second = ((self.folder / name).read_bytes() for name in ("first", "elsewhere/second"))
        self.assertEqual(first, second)
        return io.BytesIO(first)

    def test_function(self) -> None:
        with zipfile.ZipFile(self.twice(package.pack)) as packed:
            (entry,) = packed.infolist()
            self.assertEqual((entry.filename, entry.external_attr >> 16), ("bootstrap", 0o100755))
            self.assertEqual(packed.read(entry), self.program.read_bytes())

    def test_command_line(self) -> None:
        with tarfile.open(fileobj=self.twice(package.pack_command_line), mode="r:gz") as packed:
            (entry,) = packed.getmembers()
            found = (entry.name, entry.mode, entry.mtime, entry.uid, entry.gid)
            self.assertEqual(found, ("cloudhsm-alerts", 0o755, 0, 0, 0))
            self.assertEqual(packed.extractfile(entry).read(), self.program.read_bytes())


class Templates(Test):
    def test_only_code_and_architecture_differ(self) -> None:
        for name in package.TEMPLATES:
            for architecture in package.ARCHITECTURES:
                with self.subTest(template=name, architecture=architecture):
                    text = (ROOT / name).read_text()
                    expected = yaml_parse(text)
                    function = expected["Resources"][FUNCTIONS[name]]
                    function["Properties"]["CodeUri"] = "./function.zip"
                    del function["Metadata"]["BuildMethod"]
                    expected.get("Metadata", {}).get("AWS::ServerlessRepo::Application", {}).pop("ReadmeUrl", None)
                    expected["Parameters"]["Architecture"].update(Default=architecture, AllowedValues=[architecture])
                    self.assertEqual(yaml_parse(package.for_release(text, architecture, "function.zip")), expected)

    def test_sam_takes_them_from_a_folder_that_holds_nothing_else(self) -> None:
        package.pack(self.program, self.folder / "function.zip")
        self.program.unlink()
        port = free_port()
        url = f"http://{LOOPBACK}:{port}"
        environment = os.environ | {
            "AWS_ENDPOINT_URL": url,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "NO_PROXY": LOOPBACK,
        }
        with server([TOOLS / "moto/bin/moto_server", "-H", LOOPBACK, "-p", port], self.folder / "moto.log", port):
            s3 = client("s3", url)
            s3.create_bucket(Bucket="code", CreateBucketConfiguration={"LocationConstraint": REGION})
            for name in package.TEMPLATES:
                (self.folder / name).write_text(
                    package.for_release((ROOT / name).read_text(), "x86_64", "function.zip")
                )
                command = [TOOLS / "sam/bin/sam", "package", "--template-file", name, "--s3-bucket", "code"]
                command += ["--output-template-file", "packaged.yaml"]
                subprocess.run(command, cwd=self.folder, env=environment, check=True, capture_output=True)
                packaged = yaml_parse((self.folder / "packaged.yaml").read_text())
                address = packaged["Resources"][FUNCTIONS[name]]["Properties"]["CodeUri"]
                self.assertTrue(address.startswith("s3://code/"), address)
                stored = s3.get_object(Bucket="code", Key=address.rpartition("/")[2])["Body"].read()
                self.assertEqual(stored, (self.folder / "function.zip").read_bytes())

    def test_a_template_of_another_form_is_refused(self) -> None:
        text = (ROOT / "template.yaml").read_text()
        for broken in (
            text.replace("      CodeUri: .\n", "      CodeUri: target\n"),
            text.replace("      CodeUri: .\n", "      CodeUri: .\n      CodeUri: .\n"),
            text.replace("    AllowedValues: [x86_64, arm64]\n", ""),
        ):
            self.assertNotEqual(text, broken)
            with self.assertRaises(package.PackageError):
                package.for_release(broken, "x86_64", "function.zip")


class Program(unittest.TestCase):
    def test_templates_without_a_function_are_copied(self) -> None:
        subprocess.run([sys.executable, "-B", "package.py", "templates", "x86_64"], cwd=ROOT / "scripts", check=True)
        for name in package.PLAIN_TEMPLATES:
            copied = package.PACKAGES / name.replace(".", f"-{package.version()}.")
            self.assertEqual(copied.read_bytes(), (ROOT / name).read_bytes())

    def test_what_cannot_be_packed_is_refused(self) -> None:
        for arguments, code, message in (
            (["function", "riscv64", "x"], 2, "argument architecture: invalid choice: 'riscv64'"),
            (["all", "arm64"], 2, "argument what: invalid choice: 'all'"),
            (["function", "arm64", "nowhere"], 1, "package: [Errno 2] No such file or directory: 'nowhere'"),
        ):
            command = [sys.executable, "-B", ROOT / "scripts" / "package.py", *arguments]
            done = subprocess.run(command, capture_output=True, text=True)
            self.assertEqual((done.returncode, done.stdout), (code, ""))
            self.assertIn(message, done.stderr)


if __name__ == "__main__":
    unittest.main()
