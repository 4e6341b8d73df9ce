#!/usr/bin/env python3
"""What a release is made of, below target/package: the function as the zip that Lambda takes, the
command line as a tar, and the templates that name the zip, each with its checksum.

The archives hold no time, no owner and no order of a file system: the same program gives the same
bytes, as long as the zlib of this Python is the same.

    python3 scripts/package.py function x86_64 target/package/x86_64/bootstrap
    python3 scripts/package.py command-line x86_64 target/package/x86_64/cloudhsm-alerts
    python3 scripts/package.py templates x86_64
"""

import gzip
import hashlib
import io
import re
import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ROOT / "target" / "package"
TEMPLATES = ("template.yaml", "chat.yaml")
ARCHITECTURES = ("x86_64", "arm64")


class PackageError(Exception):
    """Why nothing was packed, in words for the person at the terminal."""


def version():
    found = re.search(r'^version = "([^"]+)"', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)
    if found is None:
        raise PackageError("Cargo.toml has no line `version = \"…\"`")
    return found.group(1)


def function_name(architecture):
    return "cloudhsm-alerts-{}-{}.zip".format(version(), architecture)


def pack(program, archive, compression=zipfile.ZIP_DEFLATED):
    """A program as Lambda takes it: executable, and called bootstrap."""
    # The earliest time that a zip can hold.
    entry = zipfile.ZipInfo("bootstrap", date_time=(1980, 1, 1, 0, 0, 0))
    entry.create_system = 3
    entry.external_attr = 0o100755 << 16
    entry.compress_type = compression
    with zipfile.ZipFile(str(archive), "w") as packed:
        packed.writestr(entry, program.read_bytes(), compresslevel=9)


def pack_command_line(program, archive):
    content = program.read_bytes()
    entry = tarfile.TarInfo(program.name)
    entry.mode = 0o755
    entry.size = len(content)
    with open(str(archive), "wb") as file:
        # The name and the time of the packing would be in the header.
        with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=file, mtime=0) as compressed:
            with tarfile.open(fileobj=compressed, mode="w", format=tarfile.USTAR_FORMAT) as packed:
                packed.addfile(entry, io.BytesIO(content))


def for_release(template, architecture, archive):
    """A template that deploys a zip beside it, where the one in git has the source compiled.

    It is changed as text, so that comments, order and everything else stay as they are.
    """
    template = replaced_once(template, r"^(      CodeUri: )\.$", r"\g<1>./" + archive, "`CodeUri: .`")
    template = replaced_once(template, r"^      BuildMethod: makefile\n", "", "`BuildMethod: makefile`")
    # The README for the Serverless Application Repository: SAM would look for it beside the template.
    if "AWS::ServerlessRepo::Application:" in template:
        template = replaced_once(template, r"^    ReadmeUrl: README\.md\n", "", "`ReadmeUrl: README.md`")
    # A zip holds one instruction set; the other could be chosen, and the function would not start.
    parameter = r"^(  Architecture:\n(?:    .*\n)*?    Default: )\w+(\n(?:    .*\n)*?    AllowedValues: )\[x86_64, arm64\]$"
    return replaced_once(
        template, parameter, r"\g<1>{0}\g<2>[{0}]".format(architecture), "a parameter Architecture with x86_64 and arm64"
    )


def replaced_once(text, pattern, replacement, what):
    text, times = re.subn(pattern, replacement, text, flags=re.MULTILINE)
    if times != 1:
        raise PackageError("a template has {} in {} places, and this script expects one".format(what, times))
    return text


def write_templates(architecture):
    for name in TEMPLATES:
        written = PACKAGES / "{}-{}-{}".format(Path(name).stem, version(), architecture + Path(name).suffix)
        written.write_text(for_release((ROOT / name).read_text(), architecture, function_name(architecture)))
        finish(written)


def finish(archive, program=None):
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    archive.with_name(archive.name + ".sha256").write_text("{}  {}\n".format(digest, archive.name))
    unpacked = "" if program is None else ", {:,} unpacked".format(program.stat().st_size)
    print("{}: {:,} bytes{}\nsha256 {}".format(archive.relative_to(ROOT), archive.stat().st_size, unpacked, digest))


def main(what, architecture, program=None):
    if architecture not in ARCHITECTURES:
        raise PackageError("the architecture is x86_64 or arm64, not {!r}".format(architecture))
    PACKAGES.mkdir(parents=True, exist_ok=True)
    if what == "function":
        archive = PACKAGES / function_name(architecture)
        pack(Path(program), archive)
        finish(archive, Path(program))
    elif what == "command-line":
        archive = PACKAGES / "cloudhsm-alerts-command-line-{}-linux-{}.tar.gz".format(version(), architecture)
        pack_command_line(Path(program), archive)
        finish(archive, Path(program))
    elif what == "templates":
        write_templates(architecture)
    else:
        raise PackageError("what is packed is function, command-line or templates, not {!r}".format(what))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (PackageError, OSError) as error:
        sys.exit("package: {}".format(error))
