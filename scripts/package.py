"""What a release consists of, in target/package: the function as the zip that Lambda takes, the command line as a tar,
the templates that name the zip, and those without a function, each with its checksum.

The archives hold no time, no owner and no order of a file system: the same program gives the same bytes, as long as
the zlib of this Python is the same.
"""

import argparse
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
# Without a function: for every release and instruction set the same.
PLAIN_TEMPLATES = ("guard.yaml", "backfill.yaml")
ARCHITECTURES = ("x86_64", "arm64")


class PackageError(Exception):
    """A file does not have the form that this script expects."""


def version() -> str:
    found = re.search(r'^version = "([^"]+)"', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)
    if found is None:
        raise PackageError('Cargo.toml has no line `version = "…"`')
    return found[1]


def pack(program: Path, archive: Path, compression: int = zipfile.ZIP_DEFLATED) -> None:
    """A program as Lambda takes it: executable, and called bootstrap."""
    # The earliest time that a zip can hold.
    entry = zipfile.ZipInfo("bootstrap", date_time=(1980, 1, 1, 0, 0, 0))
    entry.create_system = 3
    entry.external_attr = 0o100755 << 16
    entry.compress_type = compression
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr(entry, program.read_bytes(), compresslevel=9)


def pack_command_line(program: Path, archive: Path) -> None:
    content = program.read_bytes()
    entry = tarfile.TarInfo(program.name)
    entry.mode = 0o755
    entry.size = len(content)
    with (
        archive.open("wb") as file,
        # Else the header would hold a name and the time of packing.
        gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=file, mtime=0) as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.USTAR_FORMAT) as packed,
    ):
        packed.addfile(entry, io.BytesIO(content))


def for_release(template: str, architecture: str, archive: str) -> str:
    """A template that deploys a zip beside it, where the one in git has the source compiled.

    It is changed as text, so that comments, order and everything else stay as they are.
    """
    template = replaced_once(template, r"^(      CodeUri: )\.$", rf"\g<1>./{archive}", "`CodeUri: .`")
    template = replaced_once(template, r"^      BuildMethod: makefile\n", "", "`BuildMethod: makefile`")
    # The README for the Serverless Application Repository: SAM would look for it beside the template.
    if "AWS::ServerlessRepo::Application:" in template:
        template = replaced_once(template, r"^    ReadmeUrl: README\.md\n", "", "`ReadmeUrl: README.md`")
    # A zip holds one instruction set; the other could be chosen, and the function would not start.
    lines = r"\n(?:    .*\n)*?"
    parameter = rf"^(  Architecture:{lines}    Default: )\w+({lines}    AllowedValues: )\[x86_64, arm64\]$"
    only = rf"\g<1>{architecture}\g<2>[{architecture}]"
    return replaced_once(template, parameter, only, "a parameter Architecture with x86_64 and arm64")


def replaced_once(text: str, pattern: str, replacement: str, what: str) -> str:
    text, times = re.subn(pattern, replacement, text, flags=re.MULTILINE)
    if times != 1:
        raise PackageError(f"a template has {what} in {times} places, and this script expects one")
    return text


def finish(archive: Path) -> None:
    checksum = hashlib.sha256(archive.read_bytes()).hexdigest()
    archive.with_name(f"{archive.name}.sha256").write_text(f"{checksum}  {archive.name}\n")
    print(f"{archive.relative_to(ROOT)}: {archive.stat().st_size:,} bytes\nsha256 {checksum}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("function", "command-line", "templates"))
    parser.add_argument("architecture", choices=ARCHITECTURES)
    parser.add_argument("program", nargs="?", type=Path, help="what is packed; not for templates")
    arguments = parser.parse_args()
    PACKAGES.mkdir(parents=True, exist_ok=True)
    release = f"{version()}-{arguments.architecture}"
    function = PACKAGES / f"cloudhsm-alerts-{release}.zip"
    if arguments.what == "templates":
        for name in map(Path, TEMPLATES):
            written = PACKAGES / f"{name.stem}-{release}{name.suffix}"
            written.write_text(for_release((ROOT / name).read_text(), arguments.architecture, function.name))
            finish(written)
        for name in map(Path, PLAIN_TEMPLATES):
            written = PACKAGES / f"{name.stem}-{version()}{name.suffix}"
            written.write_bytes((ROOT / name).read_bytes())
            finish(written)
    elif arguments.what == "function":
        pack(arguments.program, function)
        finish(function)
    else:
        archive = PACKAGES / f"cloudhsm-alerts-command-line-{version()}-linux-{arguments.architecture}.tar.gz"
        pack_command_line(arguments.program, archive)
        finish(archive)


if __name__ == "__main__":
    try:
        main()
    except (PackageError, OSError) as error:
        sys.exit(f"package: {error}")
