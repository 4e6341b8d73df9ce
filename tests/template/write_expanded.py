"""Writes the stacks that users choose, expanded and evaluated, as plain CloudFormation into a folder, for the linters:
they take a parameter's default for its value and skip what a condition leaves out."""

import argparse
import json
import re
from pathlib import Path

from test_expanded import AUDIENCES, OPTIONS, SOURCES, Expanded


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for number, (name, parameters) in enumerate(SOURCES.items()):
        stack = Expanded(**parameters, **AUDIENCES["everybody"], **OPTIONS["everything"])
        for resource in stack.resources.values():
            resource.pop("Condition", None)
        document = {"AWSTemplateFormatVersion": "2010-09-09", "Description": name, "Resources": stack.resources}
        path = folder / f"{number:02}-{re.sub('[^A-Za-z0-9]', '-', name)}.json"
        path.write_text(json.dumps(document, indent=1, default=str))


if __name__ == "__main__":
    main()
