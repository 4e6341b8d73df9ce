"""The stacks that users choose, expanded and worked out, as plain CloudFormation for the linters:
they take a parameter's default for its value and pass over what a condition leaves out.

    python tests/template/write_expanded.py FOLDER
"""

import json
import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

from expanded import Expanded
from test_expanded import AUDIENCES, OPTIONS, SOURCES


def main(folder):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for number, (name, parameters) in enumerate(SOURCES.items()):
        stack = Expanded(**parameters, **AUDIENCES["everybody"], **OPTIONS["everything"])
        document = {
            "AWSTemplateFormatVersion": "2010-09-09",
            "Description": name,
            "Resources": {
                name: {key: value for key, value in resource.items() if key != "Condition"}
                for name, resource in stack.resources.items()
            },
        }
        path = folder / "{:02}-{}.json".format(number, "".join(c if c.isalnum() else "-" for c in name))
        path.write_text(json.dumps(document, indent=1, default=str))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
