"""A Docker engine for `make test-sam`, and in it an image in which Lambda's functions run.

The engine is the one that answers here. Where none does and this runs as root, one is started
that keeps everything under target/ and ends with its `with` block; Debian's package of it is
installed where there is none. On an engine that is somebody's nothing stays: no container that
mounts this run's folder, and no image that was made for it.

The image is Lambda's own where the engine has it. Else a stand-in is made of Debian's packages,
under a name of its own, so that nothing takes it for Lambda's.
"""

import ipaddress
import json
import os
import platform
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from emulator import LOOPBACK
from processes import CommandError, Server, output_of, run, start
from tools import ROOT

# What Lambda calls the instruction set of a machine.
ARCHITECTURES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}
PLATFORMS = {"x86_64": "linux/amd64", "arm64": "linux/arm64"}

STAND_IN = "cloudhsm-alerts-stand-in"

# The name that Docker Desktop and Colima give to the machine they run on.
HOST = "host.docker.internal"
ADD_HOST = ("--add-host", HOST + ":host-gateway")

SUPPORTED = (
    "supported are an engine that runs on this machine as root, whose firewall lets containers reach it, "
    "and Docker Desktop and Colima; not a rootless engine, and not one on another machine"
)


class EngineError(Exception):
    """Why there is no engine, or no image, in words for the person at the terminal."""


def say(text):
    print("test-sam: " + text, file=sys.stderr, flush=True)


def architecture():
    """The instruction set of this machine, as Lambda calls it."""
    machine = platform.machine()
    if machine.lower() not in ARCHITECTURES:
        raise EngineError("Lambda runs on x86_64 and arm64, and this machine is {}".format(machine))
    return ARCHITECTURES[machine.lower()]


class Engine:
    """A Docker engine: the one that is there, or one of our own."""

    def __init__(self, work):
        self.work = work
        self.server = None
        self.stand_in = None
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "SAM_"))}

    def __enter__(self):
        said = self.refusal()
        if said is not None:
            self.start(said)
        return self

    def __exit__(self, *_):
        try:
            self.leave_nothing()
        finally:
            if self.server is not None:
                self.server.__exit__()
                shutil.rmtree(str(self.run_folder), ignore_errors=True)

    def refusal(self):
        """What `docker info` says when no engine answers; nothing where one does."""
        if shutil.which("docker") is None:
            return "docker is not installed or not on PATH"
        code, output, errors = run(["docker", "info", "--format", "{{json .}}"], env=self.environment)
        try:
            self.described = json.loads(output)
        except ValueError:
            self.described = {}
        server_errors = self.described.get("ServerErrors") or []
        if code == 0 and not server_errors:
            return None
        return "\n".join(server_errors) or errors.strip() or "`docker info` ended with {}".format(code)

    def start(self, said):
        if os.environ.get("DOCKER_HOST"):
            raise EngineError("the Docker engine of DOCKER_HOST={} does not answer:\n{}".format(os.environ["DOCKER_HOST"], said))
        if os.geteuid() != 0:
            raise EngineError(
                "no Docker engine answers. Start one, or, where one runs, let this user use it "
                "(on Linux: add it to the group docker and log in again). Docker says:\n" + said
            )
        if shutil.which("dockerd") is None or shutil.which("docker") is None:
            install_docker()
        say("no Docker engine answers: starting one of its own ...")
        # A socket's path has at most some hundred characters, which target/ may exceed.
        self.run_folder = Path(tempfile.mkdtemp(prefix="sam-"))
        try:
            self.environment["DOCKER_HOST"] = "unix://{}/docker.sock".format(self.run_folder)
            data = ROOT / "target" / "docker"
            data.mkdir(parents=True, exist_ok=True)
            server = Server(
                ["dockerd", "--host", self.environment["DOCKER_HOST"], "--data-root", data,
                 "--exec-root", self.run_folder / "exec", "--pidfile", self.run_folder / "dockerd.pid"],
                self.work / "dockerd.log", self.environment, lambda: self.refusal() is None,
            )
            server.__enter__()
        except BaseException:
            shutil.rmtree(str(self.run_folder), ignore_errors=True)
            raise
        self.server = server

    def docker(self, *arguments, **options):
        return output_of(["docker", *arguments], env=self.environment, **options)

    def has_image(self, name):
        return run(["docker", "image", "inspect", name], env=self.environment)[0] == 0

    def leave_nothing(self):
        """Removes the containers of this run, and on somebody's engine its images."""
        try:
            mounts = "{{.Id}}{{range .Mounts}} {{.Source}}{{end}}"
            containers = self.docker("ps", "--all", "--quiet", "--no-trunc").split()
            for container in containers:
                # One of somebody else's may be gone by now.
                code, described, _ = run(["docker", "inspect", "--format", mounts, container], env=self.environment)
                if code == 0 and str(self.work) in described:
                    self.docker("rm", "--force", "--volumes", container)
            if self.stand_in is not None and self.server is None:
                images = self.docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", self.stand_in).split()
                if images:
                    self.docker("image", "rm", "--force", *images)
        except CommandError as error:
            say("could not remove everything from the Docker engine: {}".format(error))

    # ---- The image ------------------------------------------------------------------

    def image(self, sam):
        """The image to run the function in, and whether it is Lambda's."""
        ask = (
            "import sys; from samcli.local.docker.lambda_image import LambdaImage, Runtime; "
            "print(LambdaImage._INVOKE_REPO_PREFIX + '/' + Runtime.get_image_name_tag('provided.al2023', sys.argv[1]))"
        )
        name = output_of([sam / "bin" / "python", "-I", "-c", ask, architecture()]).strip()
        if os.environ.get("PULL", "") not in ("", "0"):
            say("pulling {} ...".format(name))
            self.docker("pull", "--platform", PLATFORMS[architecture()], name)
        if self.has_image(name):
            say("the function runs in Lambda's image, {}".format(name))
            return name, True
        # Another run on somebody's engine may be under way; ours is kept for the next.
        self.stand_in = STAND_IN if self.server is not None else "{}-{}".format(STAND_IN, secrets.token_hex(4))
        stand_in = "{}:{}".format(self.stand_in, architecture())
        if not self.has_image(stand_in):
            say("making a stand-in for Lambda's image of the distribution's packages ...")
            with tempfile.TemporaryDirectory(dir=str(ROOT / "target")) as folder:
                self.make_stand_in(stand_in, Path(folder))
        say("the function runs in a stand-in made of Debian's packages, not in Lambda's image (PULL=1 fetches that)")
        return stand_in, False

    def make_stand_in(self, name, folder):
        """C library, a shell and certificates: what a compiled function and SAM's own start need."""
        root = folder / "root"
        # Debian's newer packages have everything below usr/, the older ones do not.
        for path in ("bin", "sbin", "lib", "lib64"):
            (root / "usr" / path).mkdir(parents=True, exist_ok=True)
        for package in download_packages(folder / "packages", ("busybox-static", "libc6", "libgcc-s1")):
            output_of(["dpkg-deb", "-x", package, root])
        for path in ("bin", "sbin", "lib", "lib64"):
            if (root / path).is_dir() and not (root / path).is_symlink():
                shutil.copytree(str(root / path), str(root / "usr" / path), symlinks=True, dirs_exist_ok=True)
                shutil.rmtree(str(root / path))
            if not (root / path).is_symlink():
                (root / path).symlink_to("usr/" + path)
        for path in ("tmp", "var/task", "var/runtime", "var/rapid", "opt", "etc/ssl/certs", "root", "proc", "sys", "dev"):
            (root / path).mkdir(parents=True, exist_ok=True)
        (root / "tmp").chmod(0o1777)
        for applet in ("sh", "mv", "chmod", "cp", "rm", "ls", "cat", "mkdir", "nc"):
            link = root / "usr" / "bin" / applet
            if not link.exists():
                link.symlink_to("busybox")
        certificates = Path("/etc/ssl/certs/ca-certificates.crt")
        if certificates.exists():
            shutil.copyfile(str(certificates), str(root / "etc/ssl/certs/ca-certificates.crt"))
        (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
        tar = start(["tar", "-C", root, "-c", "."], stdout=subprocess.PIPE)
        try:
            self.docker(
                "import", "--platform", PLATFORMS[architecture()], "--change", "WORKDIR /var/task",
                "--change", "LABEL {}=1".format(STAND_IN), "-", name, stdin=tar.stdout,
            )
        finally:
            # Without a reader it ends by itself.
            tar.stdout.close()
            packed = tar.wait()
        if packed != 0:
            raise EngineError("the stand-in's files could not be packed (tar, exit code {})".format(packed))

    # ---- The way back to this machine -----------------------------------------------

    def host(self):
        """Where a server for containers listens, and under what name they reach it."""
        code, described, _ = run(
            ["docker", "network", "inspect", "bridge", "--format", "{{json .IPAM.Config}}"], env=self.environment
        )
        for network in json.loads(described) or [] if code == 0 else []:
            # An engine that has just made its network names no gateway until it is started anew: it is the first
            # address all the same.
            subnet = ipaddress.ip_network(network["Subnet"])
            gateway = network.get("Gateway") or str(subnet[1])
            if subnet.version == 4 and is_ours(gateway):
                return gateway, gateway
        # The engine runs in a virtual machine, which hands this name on to our loopback.
        return LOOPBACK, HOST

    def check_way_back(self, image, host, port):
        """One container that reads this run's folder and asks the server on this machine."""
        # Lambda's image has curl. The stand-in's nc, being static, looks up no names, so that
        # the number is taken from where Docker writes it.
        script = (
            "test -e /run-folder/env.json || exit 3; "
            "if command -v curl >/dev/null; then exec curl -sS -o /dev/null -m 10 http://$1:$2/moto-api/; fi; "
            "address=$1; while read -r number name; do if [ \"$name\" = \"$1\" ]; then address=$number; fi; done </etc/hosts; "
            "printf 'GET /moto-api/ HTTP/1.0\\r\\n\\r\\n' | nc -w 10 $address $2 >/dev/null"
        )
        code, output, errors = run(
            ["docker", "run", "--rm", "--pull", "never", *ADD_HOST, "--volume", "{}:/run-folder:ro".format(self.work),
             "--entrypoint", "sh", image, "-c", script, "sh", host, str(port)],
            env=self.environment,
        )
        if code == 0:
            return
        engine = self.described.get("OperatingSystem", "unknown system")
        if any("rootless" in option for option in self.described.get("SecurityOptions") or []):
            engine += ", rootless"
        what = "does not see the folder {}".format(self.work) if code == 3 else "cannot reach this machine at {}:{}".format(host, port)
        raise EngineError("a container of this Docker engine ({}) {}: {}\n{}".format(
            engine, what, SUPPORTED, (errors or output).strip()[-1000:]).rstrip())


def is_ours(address):
    """Whether an address is one of this machine's, on which a server can listen."""
    with socket.socket() as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def install_docker():
    if shutil.which("apt-get") is None:
        raise EngineError("no Docker engine answers: install Docker and start it")
    say("installing Docker from the distribution's packages ...")
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    output_of(["apt-get", "update", "-q"], env=environment)
    output_of(["apt-get", "install", "-qy", "--no-install-recommends", "docker.io", "iptables"], env=environment)


def download_packages(folder, names):
    """The distribution's packages, as files in a folder."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise EngineError("the stand-in for Lambda's image is made of Debian's packages, and there is no apt here: use PULL=1")
    folder.mkdir()
    # apt fetches as a user of its own where it may.
    folder.chmod(0o777)
    download = ["apt-get", "download", *names]
    code, _, errors = run(download, cwd=str(folder))
    if code != 0 and os.geteuid() == 0:
        # The lists are empty, or so old that what they name is gone.
        output_of(["apt-get", "update", "-q"])
        code, _, errors = run(download, cwd=str(folder))
    if code != 0:
        raise EngineError(
            "the packages of the stand-in for Lambda's image cannot be fetched: "
            "run `apt-get update` as root, or use PULL=1. apt says:\n{}".format(errors.strip()[-1000:])
        )
    return sorted(folder.glob("*.deb"))
