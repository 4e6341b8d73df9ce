"""What a release is made of: each archive holds the program and nothing of the day, and each
template of a release is the one in git, but for the zip it names and the instruction set it has,
and is taken by SAM as it is.

    make test-package
"""

import io
import os
import subprocess
import sys
import tarfile
import tempfile
import time
import unittest
import unittest.mock
import urllib.request
import zipfile
from pathlib import Path

sys.dont_write_bytecode = True

from samtranslator.yaml_helper import yaml_parse

from emulator import LOOPBACK, free_port
from package import ARCHITECTURES, ROOT, TEMPLATES, PackageError, for_release, pack, pack_command_line
from processes import Server, output_of

FUNCTIONS = {"template.yaml": "CloudHsmAlertsFunction", "chat.yaml": "ChatFunction"}


class Archives(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.program = self.folder / "cloudhsm-alerts"
        self.program.write_bytes(b"\x7fELF" + bytes(range(256)) * 64)

    def twice(self, pack_it):
        """The archive of a program, and of the same one later, under other rights and elsewhere."""
        pack_it(self.program, self.folder / "first")
        (self.folder / "elsewhere").mkdir()
        later = self.folder / "elsewhere" / self.program.name
        later.write_bytes(self.program.read_bytes())
        later.chmod(0o600)
        os.utime(str(later), (time.time() + 86400,) * 2)
        with unittest.mock.patch("time.time", return_value=time.time() + 86400):
            pack_it(later, self.folder / "elsewhere" / "second")
        first, second = ((self.folder / name).read_bytes() for name in ("first", "elsewhere/second"))
        self.assertEqual(first, second)
        return first

    def test_function(self):
        with zipfile.ZipFile(io.BytesIO(self.twice(pack))) as packed:
            (entry,) = packed.infolist()
            self.assertEqual(("bootstrap", 0o100755), (entry.filename, entry.external_attr >> 16))
            self.assertEqual(self.program.read_bytes(), packed.read(entry))

    def test_command_line(self):
        with tarfile.open(fileobj=io.BytesIO(self.twice(pack_command_line)), mode="r:gz") as packed:
            (entry,) = packed.getmembers()
            self.assertEqual(("cloudhsm-alerts", 0o755, 0, 0, 0), (entry.name, entry.mode, entry.mtime, entry.uid, entry.gid))
            self.assertEqual(self.program.read_bytes(), packed.extractfile(entry).read())


class Templates(unittest.TestCase):
    def test_only_code_and_architecture_differ(self):
        for name in TEMPLATES:
            for architecture in ARCHITECTURES:
                with self.subTest(template=name, architecture=architecture):
                    text = (ROOT / name).read_text()
                    expected = yaml_parse(text)
                    function = expected["Resources"][FUNCTIONS[name]]
                    function["Properties"]["CodeUri"] = "./function.zip"
                    del function["Metadata"]["BuildMethod"]
                    expected.get("Metadata", {}).get("AWS::ServerlessRepo::Application", {}).pop("ReadmeUrl", None)
                    expected["Parameters"]["Architecture"].update(Default=architecture, AllowedValues=[architecture])
                    self.assertEqual(expected, yaml_parse(for_release(text, architecture, "function.zip")))

    def test_sam_takes_them_from_a_folder_that_holds_nothing_else(self):
        port = free_port()
        url = "http://{}:{}".format(LOOPBACK, port)
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "SAM_"))}
        environment.update(
            SAM_CLI_TELEMETRY="0", AWS_ENDPOINT_URL=url, AWS_DEFAULT_REGION="us-east-1", AWS_CONFIG_FILE=os.devnull,
            AWS_SHARED_CREDENTIALS_FILE=os.devnull, AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test", NO_PROXY=LOOPBACK,
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

        def is_up():
            try:
                opener.open(url + "/moto-api/", timeout=5).close()
            except OSError:
                return False
            return True

        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            (folder / "program").write_bytes(b"\x7fELF")
            pack(folder / "program", folder / "function.zip")
            (folder / "program").unlink()
            moto = [ROOT / "target/tools/moto/bin/moto_server", "-H", LOOPBACK, "-p", port]
            with Server(moto, folder / "moto.log", environment, is_up):
                opener.open(urllib.request.Request(url + "/code", method="PUT"), timeout=60).close()
                for name in TEMPLATES:
                    (folder / name).write_text(for_release((ROOT / name).read_text(), "x86_64", "function.zip"))
                    output_of(
                        [ROOT / "target/tools/sam/bin/sam", "package", "--template-file", folder / name, "--s3-bucket", "code",
                         "--output-template-file", folder / "packaged.yaml"],
                        env=environment, cwd=str(folder),
                    )
                    packaged = yaml_parse((folder / "packaged.yaml").read_text())
                    address = packaged["Resources"][FUNCTIONS[name]]["Properties"]["CodeUri"]
                    self.assertTrue(address.startswith("s3://code/"), address)
                    # moto checks no signature, but gives nothing to those who have none.
                    request = urllib.request.Request(url + "/code/" + address.rpartition("/")[2])
                    scope = "test/20261123/us-east-1/s3/aws4_request"
                    request.add_header("Authorization", "AWS4-HMAC-SHA256 Credential={}, SignedHeaders=host, Signature=0".format(scope))
                    with opener.open(request, timeout=60) as stored:
                        self.assertEqual((folder / "function.zip").read_bytes(), stored.read())

    def test_a_template_of_another_form_is_refused(self):
        text = (ROOT / "template.yaml").read_text()
        for broken in (
            text.replace("      CodeUri: .\n", "      CodeUri: target\n"),
            text.replace("      CodeUri: .\n", "      CodeUri: .\n      CodeUri: .\n"),
            text.replace("    AllowedValues: [x86_64, arm64]\n", ""),
        ):
            self.assertNotEqual(text, broken)
            with self.assertRaises(PackageError):
                for_release(broken, "x86_64", "function.zip")


class Program(unittest.TestCase):
    def test_what_cannot_be_packed_is_said_in_one_line(self):
        for arguments, said in (
            (["function", "riscv64", "x"], "package: the architecture is x86_64 or arm64, not 'riscv64'\n"),
            (["all", "arm64"], "package: what is packed is function, command-line or templates, not 'all'\n"),
        ):
            done = subprocess.run(
                [sys.executable, "-B", str(ROOT / "scripts" / "package.py"), *arguments],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )
            self.assertEqual((1, "", said), (done.returncode, done.stdout, done.stderr))


if __name__ == "__main__":
    unittest.main()
