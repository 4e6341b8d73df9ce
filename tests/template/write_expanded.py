"""Writes the stacks that users choose, and those beside them, expanded and evaluated, as plain CloudFormation into a
folder, for the linters: they take a parameter's default for its value and skip what a condition leaves out."""

import json
import re
import sys
from pathlib import Path

from test_expanded import AUDIENCES, OPTIONS, SOURCES, Expanded


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    stacks = []
    for name, parameters in SOURCES.items():
        stack = Expanded(**parameters, **AUDIENCES["everybody"], **OPTIONS["everything"])
        beside = {f"{name}, {file}": stack.beside(file) for file in ("guard.yaml", "backfill.yaml")}
        stacks += [(name, stack), *beside.items()]
    for number, (name, stack) in enumerate(stacks):
        for resource in stack.resources.values():
            resource.pop("Condition", None)
        document = {"AWSTemplateFormatVersion": "2010-09-09", "Description": name, "Resources": stack.resources}
        path = folder / f"{number:02}-{re.sub('[^A-Za-z0-9]', '-', name)}.json"
        path.write_text(json.dumps(document, indent=1, default=str))


if __name__ == "__main__":
    main()
