"""Writes the stacks that users choose, expanded, as plain CloudFormation into a folder, for the linters: they take a
parameter's default for its value and skip what a condition leaves out. And every policy of every stack."""

import json
import re
import sys
import zlib
from pathlib import Path

from test_expanded import ACCOUNT, AUDIENCES, DATA, OPTIONS, SOURCES, Expanded, as_list, every_stack


def main() -> None:
    folder = Path(sys.argv[1])
    (folder / "policies").mkdir(parents=True, exist_ok=True)
    stacks = []
    for name, parameters in SOURCES.items():
        stack = Expanded(**parameters, **AUDIENCES["everybody"], **OPTIONS["everything"])
        beside = {f"{name}, {file}": stack.beside(file) for file in ("guard.yaml", "backfill.yaml")}
        stacks += [(name, stack), *beside.items()]
    for number, (name, stack) in enumerate(stacks):
        for resource in stack.resources.values():
            resource.pop("Condition", None)
        document = {"AWSTemplateFormatVersion": "2010-09-09", "Description": name, "Resources": stack.resources}
        file = f"{number:02}-{re.sub('[^A-Za-z0-9]', '-', name)}.json"
        (folder / file).write_text(json.dumps(document, indent=1, default=str))
    given = DATA["chat"]["given"]
    of_chat = [("", Expanded("chat.yaml", **given, **each["parameters"])) for each in DATA["chat"]["stacks"]]
    for _, stack in every_stack() + of_chat:
        for name, own in ((name, stack.properties(name)) for name in stack.resources):
            # A bus has a statement among its properties.
            for policy in [own, *own.values(), *(each["PolicyDocument"] for each in own.get("Policies", []))]:
                if isinstance(policy, dict) and "Statement" in policy:
                    # A trust policy names no resource, because it is about its role.
                    role = {"Resource": f"arn:aws:iam::{ACCOUNT}:role/{name}"}
                    statements = [role | each for each in as_list(policy["Statement"])]
                    text = json.dumps({"Version": policy.get("Version", "2012-10-17"), "Statement": statements})
                    (folder / "policies" / f"{name}-{zlib.crc32(text.encode()):08x}.json").write_text(text)


if __name__ == "__main__":
    main()
