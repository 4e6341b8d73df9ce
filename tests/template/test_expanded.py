"""Who may call what, and what exists, for each way in which the template is used.

Every combination is expanded (see expanded.py) and held to the same rules: no reference leads nowhere, nothing waits
in a circle, every policy names its resources and no action is a wildcard. Then the stacks of stacks.yaml are compared
with what is listed there.
"""

import contextlib
import functools
import graphlib
import itertools
import json
import math
import re
import unittest
import unittest.mock
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from expanded import ACCOUNT, ROOT, STACK, Expanded, Refused, as_list, source

# Run with the others.
from test_tamper import LONGEST, Tampering  # noqa: F401

DATA = yaml.safe_load(Path(__file__).with_name("stacks.yaml").read_text())
SOURCES, AUDIENCES, OPTIONS = DATA["sources"], DATA["audiences"], DATA["options"]
TOPICS = ("Alert", "Paging", "Operators")
FUNCTION_ARN = f"arn:aws:lambda:us-west-2:{ACCOUNT}:function:cloudhsm-alerts"
PARTITIONS = {"aws": "us-west-2", "aws-cn": "cn-north-1", "aws-us-gov": "us-gov-west-1"}
NAMESPACE = "CloudHsmAlerts"
OPERATIONS, CONFIGURATION, DEPLOY, BACKFILL = (
    (ROOT / "docs" / f"{name}.md").read_text() for name in ("operations", "configuration", "deploy", "backfill")
)
TEMPLATES = ("template.yaml", "guard.yaml", "backfill.yaml", "chat.yaml")
KEPT = {"S3::Bucket", "S3::BucketPolicy", "DynamoDB::Table", "SQS::Queue", "Logs::LogGroup"}


def stack_of(**parameters: Any) -> Expanded:
    """A stack that alerts somebody: without, none is made."""
    return Expanded(**{**AUDIENCES["one"], **parameters})


def parameters_of_all() -> Iterator[tuple[str, dict]]:
    for names in itertools.product(SOURCES, AUDIENCES, OPTIONS):
        yield " / ".join(names), {**SOURCES[names[0]], **AUDIENCES[names[1]], **OPTIONS[names[2]]}


@functools.cache
def every_stack() -> list[tuple[str, Expanded]]:
    """Every combination, each with the stacks that use its exports."""
    stacks = []
    for name, parameters in parameters_of_all():
        stack = stack_of(**parameters)
        beside = [stack.beside(template) for template in ("guard.yaml", "backfill.yaml")]
        stacks += [(f"{name} / {each.stack}", each) for each in (stack, *beside)]
    return stacks


def documented_metrics() -> set[str]:
    """The function's metrics, as the tables of docs/configuration.md list them. A test of the function compares these
    tables with what it emits."""
    section = CONFIGURATION.partition("\n## Reply\n")[2].partition("\n## Error types\n")[0]
    cells = [cell.strip() for line in section.splitlines() if line.startswith("|") for cell in line.split("|")[1:3]]
    return {cell.strip("`") for cell in cells if re.fullmatch(r"`[A-Z][A-Za-z]+`", cell)}


class EveryCombination(unittest.TestCase):
    def test_it_expands_without_loose_ends(self) -> None:
        for name, parameters in parameters_of_all():
            for partition, region in PARTITIONS.items():
                with self.subTest(name, partition=partition):
                    stack = stack_of(partition=partition, region=region, **parameters)
                    beside = [stack.beside(each) for each in ("guard.yaml", "backfill.yaml")]
                    # It refuses a circle.
                    for each in (stack, *beside):
                        tuple(graphlib.TopologicalSorter(each.dependencies()).static_order())
                    if partition != "aws":
                        # What the parameters bring is the user's; the rest follows the partition.
                        given = [
                            re.escape(value) for value in map(str, parameters.values()) if value.startswith("arn:")
                        ]
                        text = json.dumps([each.resources for each in (stack, *beside)], default=str)
                        self.assertNotIn('"arn:aws:', re.sub("|".join(given) or "(?!)", "", text))

    def test_no_policy_is_wider_than_its_resource(self) -> None:
        for name, stack in every_stack():
            for role in stack.of_type("AWS::IAM::Role"):
                self.assertNotIn("ManagedPolicyArns", stack.properties(role), "managed policies are wider than needed")
                for sid, statement in stack.statements(role).items():
                    with self.subTest(name, role=role, statement=sid):
                        self.assertEqual(statement["Effect"], "Allow")
                        self.assertNotIn("*", "".join(as_list(statement["Action"])))
                        for resource in as_list(statement["Resource"]):
                            # A star ends a name that is otherwise whole.
                            self.assertRegex(resource, r"^arn:[^:*]+:[^:*]+:[^:*]*:[^:*]*:[^*]{3,}\*?$")

    def test_only_named_sources_may_call(self) -> None:
        for name, stack in every_stack():
            for properties in map(stack.properties, stack.of_type("AWS::Lambda::Permission")):
                self.assertEqual(properties["Action"], "lambda:InvokeFunction", name)
                self.assertEqual(properties["FunctionName"], FUNCTION_ARN, name)
                self.assertNotIn("*", properties["SourceArn"], name)
                if properties["Principal"] != "sns.amazonaws.com":
                    self.assertEqual(properties["SourceAccount"], ACCOUNT, name)

    def test_everybody_is_only_ever_denied(self) -> None:
        for name, stack in every_stack():
            for key, resource in stack.resources.items():
                policies = resource["Properties"].keys() & {"PolicyDocument", "KeyPolicy"}
                for sid, statement in stack.statements(key).items() if policies else ():
                    with self.subTest(name, resource=key, statement=sid):
                        if statement["Principal"] == "*":
                            self.assertEqual(statement["Effect"], "Deny")
                            self.assertEqual(statement["Condition"], {"Bool": {"aws:SecureTransport": "false"}})
                        # SNS supports no condition for EventBridge.
                        elif "Service" in statement["Principal"] and sid not in ("ServicesPublish", "TamperNotices"):
                            self.assertIn("aws:SourceArn", set().union(*statement["Condition"].values()))

    def test_evidence_outlives_the_stack_encrypted_and_closed(self) -> None:
        for name, stack in every_stack():
            for key, resource in stack.resources.items():
                with self.subTest(name, resource=key):
                    if resource["Type"].removeprefix("AWS::") in KEPT:
                        self.assertEqual(resource["DeletionPolicy"], "RetainExceptOnCreate")
                        self.assertEqual(resource["UpdateReplacePolicy"], "Retain")
                    else:
                        self.assertNotIn("Retain", resource.get("DeletionPolicy", ""))

            with self.subTest(name):
                for bucket in map(stack.properties, stack.of_type("AWS::S3::Bucket")):
                    self.assertEqual(set(bucket["PublicAccessBlockConfiguration"].values()), {True})
                    self.assertEqual(bucket["VersioningConfiguration"], {"Status": "Enabled"})
                    self.assertIn("ServerSideEncryptionConfiguration", bucket["BucketEncryption"])
                for topic in stack.of_type("AWS::SNS::Topic"):
                    self.assertIn("KmsMasterKeyId", stack.properties(topic))

    def test_every_alarm_reaches_the_operators_and_a_runbook(self) -> None:
        for name, stack in every_stack():
            for key in stack.of_type("AWS::CloudWatch::Alarm"):
                with self.subTest(name, alarm=key):
                    alarm, export = stack.properties(key), stack.imports.get(f"{STACK}-OperatorsTopicArn")
                    short = alarm["AlarmName"].removeprefix("cloudhsm-alerts-")
                    (topic,) = {*alarm["AlarmActions"], *alarm["OKActions"]}
                    self.assertEqual(topic, stack.outputs.get("OperatorsTopicArn", export))
                    self.assertIn(f"\n| [{short}](#{short}) | ", OPERATIONS)
                    self.assertIn(f"\n### {short}\n", OPERATIONS)
                    self.assertTrue(alarm["AlarmDescription"].endswith(f'docs/operations.md, "{short}".'))
                    self.assertEqual(alarm["TreatMissingData"] == "breaching", short == "heartbeat")

    def test_the_functions_variables_fit(self) -> None:
        # Lambda takes 4 KB. CloudFormation makes up names as long as these; topics can have longer ones.
        arn = f"arn:aws:sns:us-west-2:{ACCOUNT}:"
        topics = {f"{name}TopicArn": arn + (name * 256)[:256] for name in TOPICS}
        for name, parameters in parameters_of_all():
            given = {**parameters, **topics, "OperatorsEmail": "", "TrailBucketPrefix": "b" * 35}
            if parameters.get("TrailSource") == "ExistingTopic":
                given["ExistingTopicArn"] = arn + "x" * 256
            with unittest.mock.patch.object(Expanded, "made_up", lambda self, name: f"{self.stack}-{name}" + "x" * 13):
                variables = stack_of(**given, stack="s" * LONGEST).variables()
            self.assertLess(sum(len(key) + len(str(value)) for key, value in variables.items()), 4096, name)

    def test_an_alarm_counts_every_event_that_is_lost(self) -> None:
        for name, stack in every_stack():
            alarms = set(stack.of_type("AWS::CloudWatch::Alarm")) & {"FailingAlarm", "GuardAlarm"}
            for alarm in map(stack.properties, alarms):
                total, *counted = alarm["Metrics"]
                self.assertEqual(total["Expression"], "SUM(METRICS())")
                # An alarm takes ten metrics, the expression among them.
                self.assertLessEqual(len(counted), 9)
                dimensions = [pair for metric in alarm_metrics(alarm) for pair in metric["Dimensions"]]
                rules = {stack.properties(rule)["Name"] for rule in stack.of_type("AWS::Events::Rule")}
                self.assertEqual({pair["Value"] for pair in dimensions if pair["Name"] == "RuleName"}, rules, name)

    def test_exports_change_only_with_what_is_guarded(self) -> None:
        plain = stack_of()
        for key, value in DATA["unguarded"].items():
            with self.subTest(key):
                self.assertEqual(stack_of(**{key: value}).exports, plain.exports)
        for name, stack in every_stack():
            self.assertNotIn("", stack.exports.values(), name)

    def test_no_update_unsubscribes_an_address(self) -> None:
        stacks = {}
        for values in itertools.product(*DATA["subscribed"].values()):
            with contextlib.suppress(Refused):
                stack = Expanded(**dict(zip(DATA["subscribed"], values, strict=True)))
                found = {key: stack.properties(key) for key in stack.of_type("AWS::SNS::Subscription")}
                addresses = {key: (each["TopicArn"], each["Protocol"], each["Endpoint"]) for key, each in found.items()}
                stacks[tuple(sorted(addresses.items()))] = addresses
        self.assertGreater(len(stacks), 50)
        for old, new in itertools.product(stacks.values(), repeat=2):
            # CloudFormation subscribes what is new, and SNS answers with the subscription that exists, if there
            # is one. Afterwards CloudFormation deletes what is no longer this resource's.
            deleted = {address for key, address in old.items() if new.get(key) != address}
            self.assertEqual(deleted & set(new.values()), set(), (old, new))


class Documents(unittest.TestCase):
    def test_every_error_type_is_explained(self) -> None:
        stages = "Object|LogFile|Payload|Publish|Ledger|Watch|Rules|Function|Reply"
        text = "\n".join(path.read_text() for path in [*ROOT.glob("src/**/*.rs"), *ROOT.glob("crates/*/src/**/*.rs")])
        types = set(re.findall(rf'"((?:{stages})\.[A-Z][A-Za-z]+)"', text))
        self.assertIn("Object.Denied", types)
        self.assertEqual({name for name in types if f"`{name}`" not in CONFIGURATION}, set())

    def test_every_command_names_the_region_and_every_deployment_the_stack(self) -> None:
        # Without them, a command looks elsewhere, and a deployment makes a second stack.
        text = re.sub(r"\\\n\s*", " ", "\n".join((OPERATIONS, DEPLOY, BACKFILL)))
        commands = re.findall(r"`((?:aws|sam build && sam deploy|sam deploy|sam delete) [^`]+)`", text)
        commands += re.findall(r"^ {4,}((?:aws|sam deploy|sam delete) .+)$", text, re.MULTILINE)
        self.assertGreater(len(commands), 20)
        for command in commands:
            with self.subTest(command):
                # Buckets have a name of their own in all regions.
                if not re.match(r"aws s3(api)? ", command) and "…" not in command.split("--")[0]:
                    self.assertIn("--region REGION", command)
                if re.search(r"sam (deploy|delete) ", command):
                    self.assertIn("--stack-name STACK", command)


def view(stack: Expanded, name: str) -> dict:
    """A resource with its properties, and with what stacks.yaml calls by names of its own."""
    resource = stack.resources[name]
    properties, statements = resource["Properties"], stack.statements(name)
    allowed = [
        each for each in statements.values() if each["Effect"] == "Allow" and "Service" in each.get("Principal", ())
    ]
    metrics = {metric["Id"]: metric for metric in properties.get("Metrics", [])}
    return {
        **(resource | properties | statements | metrics),
        "Arn": resource["Type"] == "AWS::Events::Rule" and stack.fn_getatt(f"{name}.Arn"),
        "names": sorted(properties),
        "sids": list(statements),
        "may": {sid: [statement["Action"], statement["Resource"]] for sid, statement in statements.items()},
        "allowed": {e["Sid"]: [e["Principal"]["Service"], e["Action"], e.get("Condition")] for e in allowed},
    }


def at(node: Any, path: str) -> Any:
    """What stands at a path of member names and list positions; None where nothing does."""
    while path:
        # A member's name may have dots.
        if isinstance(node, dict) and path in node:
            return node[path]
        part, _, path = path.partition(".")
        if isinstance(node, list):
            node = dict(enumerate(node))
            part = int(part)
        node = (node or {}).get(part)
    return node


def alarm_metrics(alarm: dict) -> list[dict]:
    """What CloudWatch bills an alarm for: each metric of an expression."""
    return [each["MetricStat"]["Metric"] for each in alarm.get("Metrics", []) if "MetricStat" in each] or [alarm]


class Stacks(unittest.TestCase):
    """The stacks of stacks.yaml."""

    def check(self, stack: Expanded, expected: dict) -> None:
        for name in expected.get("absent", "").split():
            self.assertNotIn(name, stack.resources)
        for kind in expected.get("no_types", []):
            self.assertEqual(stack.of_type(kind), {})
        self.assertEqual(stack.outputs, stack.outputs | expected.get("outputs", {}))
        for name, properties in expected.get("resources", {}).items():
            for path, value in properties.items():
                if isinstance(value, str):
                    value = stack.fn_sub(value)
                found = at(view(stack, name), path)
                if path == "DependsOn":
                    found, value = as_list(found), as_list(value)
                self.assertEqual(found, value, f"{name}.{path}")

    def test_the_template(self) -> None:
        for expected in DATA["stacks"]:
            with self.subTest(expected["name"]):
                stack = stack_of(**expected.get("parameters", {}))
                if "beside" in expected:
                    self.check(stack.beside(expected["beside"]), expected)
                    continue
                self.check(stack, expected)
                variables = expected.get("variables", {})
                self.assertEqual(stack.variables(), stack.variables() | variables)
                if "made" in expected:
                    self.check_source(stack, expected)
                if "watched" in expected:
                    watched = stack.fn_sub(expected["watched"].replace("COMMON", DATA["watched"]))
                    self.assertEqual(stack.variables()["WATCHED"].split(","), watched.split())

    def check_source(self, stack: Expanded, expected: dict) -> None:
        made = {key for key, resource in stack.resources.items() if resource["Type"] != "AWS::CloudWatch::Alarm"}
        self.assertEqual(made, set(f"{DATA['common']['resources']} {expected['made']}".split()))
        may, account = stack.statements("FunctionRole"), expected.get("account", ACCOUNT)
        self.assertEqual(set(may), set(f"{DATA['common']['statements']} {expected.get('may', '')}".split()))
        self.assertEqual(may["ReadLogFiles"]["Resource"], [expected["reads"].split("/")[0], expected["reads"]])
        self.assertEqual(may["ReadLogFiles"]["Condition"], {"StringEquals": {"aws:ResourceAccount": account}})

    def test_chat(self) -> None:
        chat = DATA["chat"]
        stack_of_chat = functools.partial(Expanded, "chat.yaml", stack="cloudhsm-alerts-chat", **chat["given"])
        for expected in chat["stacks"]:
            with self.subTest(expected["name"]):
                stack = stack_of_chat(**expected["parameters"])
                tuple(graphlib.TopologicalSorter(stack.dependencies()).static_order())
                self.check(stack, expected)
                # The policy of the operators' topic lets this alarm in.
                may = stack_of().statements("OperatorsTopicPolicy")["AlarmsOfThisStack"]
                pattern = may["Condition"]["ArnLike"]["aws:SourceArn"].rpartition(":")[2]
                self.assertTrue(stack.properties("ChatFailureAlarm")["AlarmName"].startswith(pattern.rstrip("*")))
        self.assertIn("\n### chat\n", OPERATIONS)
        for parameters, reason in chat["refused"]:
            with self.subTest(parameters), self.assertRaisesRegex(Refused, re.escape(reason)):
                stack_of_chat(**parameters)

    def test_parameters_that_cannot_work_are_refused_with_the_reason(self) -> None:
        values = [({name: value}, name) for name, each in DATA["refused_values"].items() for value in each]
        for parameters, reason in DATA["refused"] + values:
            with self.subTest(parameters), self.assertRaisesRegex(Refused, re.escape(reason)):
                stack_of(**parameters)

    def test_every_call_on_a_table_is_allowed(self) -> None:
        verbs = "(?:batch_)?(?:get|put|update|delete|write)_item|query|scan"  # Transactions need no other.
        # The audit keeps the hashes of log files in the ledger's table.
        for sid, folders in (("UseLedger", ("ledger", "audit")), ("UseWatchTable", ("watch",))):
            text = "\n".join(path.read_text() for folder in folders for path in (ROOT / "src" / folder).glob("*.rs"))
            calls = set(re.findall(rf"\.({verbs})\(\)", text)) | {"update_item"}
            actions = {f"dynamodb:{call.title().replace('_', '')}" for call in calls}
            self.assertEqual(set(stack_of().statements("FunctionRole")[sid]["Action"]), actions)

    def test_metrics_of_alarms_and_dashboard_are_the_functions_own(self) -> None:
        stack = stack_of()
        alarms = map(stack.properties, stack.of_type("AWS::CloudWatch::Alarm"))
        single = [each for alarm in alarms for each in alarm_metrics(alarm)]
        used = {metric["MetricName"] for metric in single if metric["Namespace"] == NAMESPACE}
        dashboard = stack.beside("guard.yaml").properties("Dashboard")["DashboardBody"]
        self.assertEqual(len(json.loads(dashboard)["widgets"]), 6)
        used |= set(re.findall(rf'"{NAMESPACE}", "(\w+)"', dashboard))
        self.assertEqual(used - documented_metrics(), set())

    def test_there_is_one_version(self) -> None:
        metadata = source("template.yaml")["Metadata"]["AWS::ServerlessRepo::Application"]
        version = re.search(r'^version = "(.+)"$', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)
        self.assertEqual(metadata["SemanticVersion"], version[1])

    def test_every_parameter_is_shown_labelled_and_used(self) -> None:
        template = source("template.yaml")
        interface = template["Metadata"]["AWS::CloudFormation::Interface"]
        grouped = [name for group in interface["ParameterGroups"] for name in group["Parameters"]]
        self.assertEqual(sorted(grouped), sorted(template["Parameters"]))
        self.assertEqual(sorted(interface["ParameterLabels"]), sorted(template["Parameters"]))
        for name, parameter in template["Parameters"].items():
            self.assertIn("Default", parameter, f"{name}: a newcomer need not know it")
            # A colon and quotes are awkward in the console's forms; 4,000 is CloudFormation's limit.
            self.assertLess(len(parameter["Description"]), 400, name)
        self.assertLessEqual(len(template["Parameters"]), 29)
        self.assertLessEqual(len((ROOT / "template.yaml").read_bytes()), 60_000)
        self.assertNotIn("FilterPolicy", "".join((ROOT / name).read_text() for name in TEMPLATES))


class Costs(unittest.TestCase):
    """docs/operations.md, "What it costs": every sum calculated again."""

    FILES = (730, 73_000, 7_300_000, 87_600_000, 262_800_000)

    def test_the_table_is_what_its_sums_give(self) -> None:
        stacks = (stack_of(), stack_of().beside("guard.yaml"))
        alarms, guard_alarms = (
            sum(len(alarm_metrics(each.properties(key))) for key in each.of_type("AWS::CloudWatch::Alarm"))
            for each in stacks
        )
        for count, price in ((len(documented_metrics()), "0.30"), (alarms, "0.10"), (guard_alarms, "0.10")):
            self.assertIn(f"| {count} × {price} |", OPERATIONS)
        totals, section = [0.0] * len(self.FILES), OPERATIONS.partition("## What it costs")[2]
        # An event counts with 26 bytes more than its text.
        logged = sum(len(event) + 26 for event in re.findall(r"^    (\{.+\})$", section, re.MULTILINE))
        self.assertIn(f"files × {math.ceil(logged / 100) / 10} KB × 0.50 / GB", section)
        for line in section.splitlines():
            name, formula, *cells = [cell.strip(" *") for cell in line.strip("|").split("|")] + ["", ""]
            if re.match(r"[\d.,]+$", cells[0]):
                sums = [self.sum(formula, files) for files in self.FILES] if formula else totals
                with self.subTest(name):
                    found = [float(cell.replace(",", "")) for cell in cells[: len(sums)]]
                    self.assertEqual(found, [round(value + 1e-9, 2) for value in sums])
                if formula and not name.startswith(("where they apply", "for comparison")):
                    totals = [total + value for total, value in zip(totals, sums, strict=True)]

    def sum(self, formula: str, files: int) -> float:
        """What a formula of the table gives: numbers, units, and counts that depend on the number of files."""
        names = {"files": files, "events": files, "records": 10 * files}
        formula = re.sub(r"(?<=\d) (?:s|GB)\b", "", formula)
        units = {"ten thousand": "1e4", "thousand": "1e3", "million": "1e6", "GB": "1e9", "TB": "1e12"}
        for unit, value in {"×": "*", " KB": " * 1e3", " MB": " * 1e6", ",000": "e3", **units}.items():
            formula = formula.replace(unit, value)
        return eval(formula, {}, names)


if __name__ == "__main__":
    unittest.main()
