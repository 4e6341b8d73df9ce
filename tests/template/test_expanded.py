"""Who may call what, and what exists, for each way in which the template is used.

Every combination is expanded (see expanded.py) and held to the same rules: no reference leads nowhere, nothing waits
in a circle, every policy names its resources and no action is a wildcard. Then the stacks of stacks.yaml are compared
with what is listed there.
"""

import functools
import itertools
import json
import re
import unittest
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from expanded import ACCOUNT, ROOT, Expanded, Refused, as_list, source

# Run with the others.
from test_tamper import LONGEST, Tampering  # noqa: F401

DATA = yaml.safe_load(Path(__file__).with_name("stacks.yaml").read_text())
SOURCES, AUDIENCES, OPTIONS = DATA["sources"], DATA["audiences"], DATA["options"]
FUNCTION_ARN = f"arn:aws:lambda:us-west-2:{ACCOUNT}:function:cloudhsm-alerts"
FAILURE_QUEUE = f"arn:aws:sqs:us-west-2:{ACCOUNT}:FailureQueue"
PARTITIONS = {"aws": "us-west-2", "aws-cn": "cn-north-1", "aws-us-gov": "us-gov-west-1"}
NAMESPACE = "CloudHsmAlerts"
OPERATIONS, CONFIGURATION, DEPLOY, BACKFILL = (
    (ROOT / "docs" / f"{name}.md").read_text() for name in ("operations", "configuration", "deploy", "backfill")
)

# Statements whose resource cannot be narrower, each with the reason in the template.
STAR = {"Trace"}
KEPT = {"S3::Bucket", "S3::BucketPolicy", "DynamoDB::Table", "SQS::Queue", "Logs::LogGroup"}


def stack_of(**parameters: Any) -> Expanded:
    """A stack that alerts somebody: without, none is made."""
    return Expanded(**{**AUDIENCES["one"], **parameters})


def parameters_of_all() -> Iterator[tuple[str, dict]]:
    for names in itertools.product(SOURCES, AUDIENCES, OPTIONS):
        yield " / ".join(names), {**SOURCES[names[0]], **AUDIENCES[names[1]], **OPTIONS[names[2]]}


@functools.cache
def every_stack() -> list[tuple[str, Expanded]]:
    return [(name, stack_of(**parameters)) for name, parameters in parameters_of_all()]


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Names that wait for each other, or none."""
    while graph:
        free = {name for name, after in graph.items() if not after}
        if not free:
            return sorted(graph)
        graph = {name: after - free for name, after in graph.items() if name not in free}
    return []


def rust_sources() -> str:
    folders = [ROOT / "src", *ROOT.glob("crates/*/src")]
    return "\n".join(path.read_text() for folder in folders for path in sorted(folder.rglob("*.rs")))


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
                    self.assertEqual(circle(stack.dependencies()), [])
                    if partition != "aws":
                        # What the parameters bring is the user's; the rest follows the partition.
                        given = [
                            re.escape(str(value)) for value in parameters.values() if str(value).startswith("arn:")
                        ]
                        self.assertNotIn('"arn:aws:', re.sub("|".join(given) or "(?!)", "", str(stack)))

    def test_no_policy_is_wider_than_its_resource(self) -> None:
        for name, stack in every_stack():
            for role in stack.of_type("AWS::IAM::Role"):
                self.assertNotIn("ManagedPolicyArns", stack.properties(role), "managed policies are wider than needed")
                for sid, statement in stack.statements(role).items():
                    with self.subTest(name, role=role, statement=sid):
                        self.assertEqual(statement["Effect"], "Allow")
                        self.assertNotIn("*", "".join(as_list(statement["Action"])))
                        for resource in [] if sid in STAR else as_list(statement["Resource"]):
                            # A star ends a name that is otherwise whole.
                            self.assertRegex(resource, r"^arn:[^:*]+:[^:*]+:[^:*]*:[^:*]*:[^*]{3,}\*?$")

    def test_only_named_sources_may_call(self) -> None:
        for name, stack in every_stack():
            for key in stack.of_type("AWS::Lambda::Permission"):
                with self.subTest(name, permission=key):
                    properties = stack.properties(key)
                    self.assertEqual(properties["Action"], "lambda:InvokeFunction")
                    self.assertEqual(properties["FunctionName"], FUNCTION_ARN)
                    self.assertNotIn("*", properties["SourceArn"])
                    if properties["Principal"] != "sns.amazonaws.com":
                        self.assertEqual(properties["SourceAccount"], ACCOUNT)

    def test_everybody_is_only_ever_denied(self) -> None:
        for name, stack in every_stack():
            for key, resource in stack.resources.items():
                policies = resource["Properties"].keys() & {"PolicyDocument", "KeyPolicy"}
                for sid, statement in stack.statements(key).items() if policies else ():
                    with self.subTest(name, resource=key, statement=sid):
                        if statement["Principal"] == "*":
                            self.assertEqual(statement["Effect"], "Deny")
                            self.assertEqual(statement["Condition"], {"Bool": {"aws:SecureTransport": "false"}})
                        elif "Service" in statement["Principal"] and resource["Type"] != "AWS::KMS::Key":
                            self.assertIn("aws:SourceArn", set().union(*statement["Condition"].values()))

    def test_evidence_outlives_the_stack(self) -> None:
        for name, stack in every_stack():
            for key, resource in stack.resources.items():
                with self.subTest(name, resource=key):
                    if resource["Type"].removeprefix("AWS::") in KEPT:
                        self.assertEqual(resource["DeletionPolicy"], "RetainExceptOnCreate")
                        self.assertEqual(resource["UpdateReplacePolicy"], "Retain")
                    else:
                        self.assertNotIn("Retain", resource.get("DeletionPolicy", ""))

    def test_what_holds_data_is_encrypted_and_closed(self) -> None:
        for name, stack in every_stack():
            with self.subTest(name):
                for bucket in map(stack.properties, stack.of_type("AWS::S3::Bucket")):
                    self.assertEqual(set(bucket["PublicAccessBlockConfiguration"].values()), {True})
                    self.assertEqual(bucket["VersioningConfiguration"], {"Status": "Enabled"})
                    self.assertIn("ServerSideEncryptionConfiguration", bucket["BucketEncryption"])
                ledger = {
                    "SSESpecification": {"SSEEnabled": True},
                    "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True},
                    "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
                    "TimeToLiveSpecification": {"AttributeName": "expires_at", "Enabled": True},
                }
                self.assertEqual(stack.properties("Ledger"), stack.properties("Ledger") | ledger)
                self.assertIs(stack.properties("FailureQueue")["SqsManagedSseEnabled"], True)
                for topic in stack.of_type("AWS::SNS::Topic"):
                    self.assertIn("KmsMasterKeyId", stack.properties(topic))

    def test_every_alarm_reaches_the_operators_and_a_runbook(self) -> None:
        for name, stack in every_stack():
            for key in stack.of_type("AWS::CloudWatch::Alarm"):
                with self.subTest(name, alarm=key):
                    alarm = stack.properties(key)
                    short = alarm["AlarmName"].removeprefix("cloudhsm-alerts-")
                    self.assertEqual(alarm["AlarmActions"], [stack.outputs["OperatorsTopicArn"]])
                    self.assertEqual(alarm["OKActions"], [stack.outputs["OperatorsTopicArn"]])
                    self.assertIn(f"\n### {short}\n", OPERATIONS)
                    self.assertTrue(alarm["AlarmDescription"].endswith(f'docs/operations.md, "{short}".'))
                    silence = "breaching" if short == "heartbeat" else "notBreaching"
                    self.assertEqual(alarm["TreatMissingData"], silence)

    def test_what_fails_goes_to_the_failure_queue(self) -> None:
        for name, stack in every_stack():
            with self.subTest(name):
                invoke = stack.properties("CloudHsmAlertsFunctionEventInvokeConfig")
                self.assertEqual(invoke["DestinationConfig"], {"OnFailure": {"Destination": FAILURE_QUEUE}})
                self.assertEqual(invoke["MaximumRetryAttempts"], 2)

    def test_a_rule_matches_only_when_the_function_lets_it_in_and_its_failures_have_a_place(self) -> None:
        for name, stack in every_stack():
            if "LogFileRule" in stack.resources:
                with self.subTest(name):
                    # Both know the rule before it is there.
                    graph = stack.dependencies()
                    self.assertNotIn("LogFileRule", graph["LogFileRuleMayInvoke"] | graph["FailureQueuePolicy"])

    def test_the_functions_variables_fit(self) -> None:
        # Lambda takes 4 KB. Names that CloudFormation makes up are longer than those here.
        for name, parameters in parameters_of_all():
            variables = stack_of(**parameters, stack="s" * LONGEST).variables()
            self.assertLess(sum(len(key) + len(str(value)) for key, value in variables.items()), 3000, name)

    def test_every_rule_with_a_dead_letter_queue_has_an_alarm_for_losing_even_that(self) -> None:
        for name, stack in every_stack():
            with self.subTest(name):
                lost, *counted = stack.properties("DeadLettersAlarm")["Metrics"]
                self.assertEqual(lost["Expression"], "SUM(METRICS())")
                dimensions = [pair for metric in counted for pair in metric["MetricStat"]["Metric"]["Dimensions"]]
                self.assertEqual(
                    {pair["Value"] for pair in dimensions if pair["Name"] == "RuleName"},
                    {stack.properties(rule)["Name"] for rule in stack.of_type("AWS::Events::Rule")},
                )

    def test_the_dashboard_is_json(self) -> None:
        for name, stack in every_stack():
            with self.subTest(name):
                self.assertEqual(len(json.loads(stack.properties("Dashboard")["DashboardBody"])["widgets"]), 6)


class Documents(unittest.TestCase):
    def test_every_error_type_is_explained(self) -> None:
        stages = "Object|LogFile|Payload|Publish|Ledger|Rules|Function|Reply"
        types = set(re.findall(rf'"((?:{stages})\.[A-Z][A-Za-z]+)"', rust_sources()))
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
    allowed = [each for each in statements.values() if "Service" in each.get("Principal", ())]
    metrics = {metric["Id"]: metric for metric in properties.get("Metrics", [])}
    return {
        **(resource | properties | statements | metrics),
        "Arn": resource["Type"] == "AWS::Events::Rule" and stack.fn_getatt(f"{name}.Arn"),
        "names": sorted(properties),
        "sids": list(statements),
        "may": {sid: [statement["Action"], statement["Resource"]] for sid, statement in statements.items()},
        "allowed": {
            each["Sid"]: [each["Principal"]["Service"], each["Action"], each.get("Condition")]
            for each in allowed
            if each["Effect"] == "Allow"
        },
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


class Stacks(unittest.TestCase):
    """The stacks of stacks.yaml."""

    def check(self, stack: Expanded, expected: dict) -> None:
        for name in expected.get("present", "").split():
            self.assertIn(name, stack.resources)
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
                self.check(stack, expected)
                variables = expected.get("variables", {})
                self.assertEqual(stack.variables(), stack.variables() | variables)
                if "made" in expected:
                    self.check_source(stack, expected)
                if "writes" in expected:
                    self.check_trail(stack, *expected["writes"])
                if "watched" in expected:
                    watched = stack.fn_sub(expected["watched"].replace("COMMON", DATA["watched"]))
                    self.assertEqual(stack.variables()["WATCHED"].split(","), watched.split())

    def check_source(self, stack: Expanded, expected: dict) -> None:
        made = {key for key, resource in stack.resources.items() if resource["Type"] != "AWS::CloudWatch::Alarm"}
        self.assertEqual(made, set(f"{DATA['common']['resources']} {expected['made']}".split()))
        may = stack.statements("FunctionRole")
        self.assertEqual(set(may), set(f"{DATA['common']['statements']} {expected.get('may', '')}".split()))
        self.assertEqual(may["ReadLogFiles"]["Resource"], expected["reads"])
        self.assertEqual(may["DistinguishMissingFromDenied"]["Resource"], expected["reads"].split("/")[0])
        owner = {"StringEquals": {"aws:ResourceAccount": expected.get("account", ACCOUNT)}}
        for sid in ("ReadLogFiles", "DistinguishMissingFromDenied"):
            self.assertEqual(may[sid]["Condition"], owner)

    def check_trail(self, stack: Expanded, trail: str, resources: list[str]) -> None:
        acl, write, tls = stack.statements("TrailBucketPolicy").values()
        self.assertEqual(tls["Effect"], "Deny")
        self.assertEqual(acl["Condition"]["StringEquals"]["aws:SourceArn"], trail)
        self.assertEqual(write["Condition"]["StringEquals"]["aws:SourceArn"], trail)
        self.assertEqual(write["Condition"]["StringEquals"]["s3:x-amz-acl"], "bucket-owner-full-control")
        self.assertEqual(write["Resource"], resources)

    def test_chat(self) -> None:
        chat = DATA["chat"]
        stack_of_chat = functools.partial(Expanded, "chat.yaml", stack="cloudhsm-alerts-chat", **chat["given"])
        for expected in chat["stacks"]:
            with self.subTest(expected["name"]):
                stack = stack_of_chat(**expected["parameters"])
                self.assertEqual(circle(stack.dependencies()), [])
                self.check(stack, expected)
                boundaries = {
                    stack.properties(role).get("PermissionsBoundary") for role in stack.of_type("AWS::IAM::Role")
                }
                self.assertEqual(boundaries, {expected["parameters"].get("PermissionsBoundaryArn")})
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

    def test_subscribers_get_their_severities(self) -> None:
        stack = stack_of(**AUDIENCES["everybody"], EmailMinSeverity="medium")
        alerts, operators = stack.outputs["AlertTopicArn"], stack.outputs["OperatorsTopicArn"]
        medium = {"severity": ["medium", "high", "critical"]}
        critical = {"severity": ["critical"], "page": [{"exists": False}]}
        expected = {(alerts, "email", f"{name}@example.com"): medium for name in "abc"}
        expected |= {(alerts, "sms", f"+1206555010{digit}"): critical for digit in "01"}
        expected |= {(operators, "email", "ops@example.com"): None}
        found = list(map(stack.properties, stack.of_type("AWS::SNS::Subscription")))
        self.assertEqual(
            {(each["TopicArn"], each["Protocol"], each["Endpoint"]): each.get("FilterPolicy") for each in found},
            expected,
        )

    def test_every_call_that_the_ledger_makes_is_allowed(self) -> None:
        verbs = "(?:batch_|transact_)?(?:get|put|update|delete|write)_items?|query|scan"
        text = "\n".join(path.read_text() for path in (ROOT / "src" / "ledger").glob("*.rs"))
        calls = set(re.findall(rf"\.({verbs})\(\)", text))
        self.assertIn("put_item", calls)
        actions = {f"dynamodb:{call.title().replace('_', '')}" for call in calls}
        self.assertEqual(set(stack_of().statements("FunctionRole")["UseLedger"]["Action"]), actions)

    def test_a_failure_is_not_received_twice_at_once_and_is_seen_before_it_expires(self) -> None:
        stack = stack_of(RedriveFailures="on")
        queue, timeout = stack.properties("FailureQueue"), stack.properties("CloudHsmAlertsFunction")["Timeout"]
        self.assertGreaterEqual(queue["VisibilityTimeout"], 6 * timeout)
        age = stack_of().properties("FailureQueueAgeAlarm")
        self.assertLess(age["Threshold"], queue["MessageRetentionPeriod"] - 3 * 86400)
        held, *counted = stack_of().properties("FailureQueueAlarm")["Metrics"]
        self.assertEqual(held["Expression"], " + ".join(metric["Id"] for metric in counted))
        self.assertEqual(
            [metric["MetricStat"]["Metric"]["MetricName"] for metric in counted],
            ["ApproximateNumberOfMessagesVisible", "ApproximateNumberOfMessagesNotVisible"],
        )

    def test_the_fast_path_takes_each_call_of_the_rules_for_key_stores(self) -> None:
        pattern = stack_of(FastPath="on").properties("FastPathRule")["EventPattern"]
        rules = "".join(path.read_text() for path in (ROOT / "rules" / "kms-key-store").glob("*.yml"))
        calls = set(re.findall(r"\b[A-Z][a-z]+CustomKeyStore\b", rules))
        self.assertEqual(calls - set(pattern["detail"]["$or"][1]["eventName"]), set())

    def test_metrics_of_alarms_and_dashboard_are_the_functions_own(self) -> None:
        stack = stack_of()
        alarms = map(stack.properties, stack.of_type("AWS::CloudWatch::Alarm"))
        used = {alarm["MetricName"] for alarm in alarms if alarm.get("Namespace") == NAMESPACE}
        namespace = name = None
        for widget in json.loads(stack.properties("Dashboard")["DashboardBody"])["widgets"]:
            for metric in widget["properties"]["metrics"]:
                # "..." repeats the metric before, "." one part of it.
                if metric[0] != "...":
                    namespace, name = (
                        namespace if metric[0] == "." else metric[0],
                        name if metric[1] == "." else metric[1],
                    )
                if namespace == NAMESPACE:
                    used.add(name)
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


class Costs(unittest.TestCase):
    """docs/operations.md, "What it costs": every sum calculated again."""

    FILES = (730, 73_000, 7_300_000)

    def test_the_table_is_what_its_sums_give(self) -> None:
        stack = stack_of()
        # CloudWatch bills an alarm on an expression for each metric in it.
        alarms = sum(
            sum("MetricStat" in metric for metric in stack.properties(alarm).get("Metrics", [{"MetricStat": {}}]))
            for alarm in stack.of_type("AWS::CloudWatch::Alarm")
        )
        metrics = len(documented_metrics())
        self.assertIn(f"| {metrics} × 0.30 |", OPERATIONS)
        self.assertIn(f"| {alarms} × 0.10 |", OPERATIONS)
        existing: dict[str, Callable[[int], float]] = {
            "Lambda, requests": lambda files: files * 0.20 / 1e6,
            "Lambda, time": lambda files: files * 0.1 * 0.25 * 0.0000166667,
            "S3, reading": lambda files: files * 0.0004 / 1e3,
            "the function's log, written": lambda files: files * 3e3 * 0.50 / 1e9,
            "the function's log, kept for 12 months": lambda files: files * 3e3 * 12 * 0.03 / 1e9,
            "X-Ray": lambda files: (min(files, 730 * 3600) + 0.05 * max(0, files - 730 * 3600)) * 5 / 1e6,
            "custom metrics": lambda files: metrics * 0.30,
            "alarms": lambda files: alarms * 0.10,
            "dashboard": lambda files: 3.00,
            "key of the operators' topic": lambda files: 1.00,
        }
        new = {
            "a new trail: second copy of management events": lambda files: files * 10 * 2.00 / 100_000,
            "a new trail: S3, writing": lambda files: files * 0.005 / 1e3,
        }
        apart = {
            "where they apply: S3's events to EventBridge": lambda files: files * 1.00 / 1e6,
            "where they apply: events from another account's bus": lambda files: files * 1.00 / 1e6,
            "where they apply: log files under a KMS key": lambda files: files * 0.03 / 1e4,
        }
        sums = {name: [cost(files) for files in self.FILES] for name, cost in (existing | new | apart).items()}
        for name, parts in (
            ("with an existing trail", existing),
            ("with a new trail, the account's second", existing | new),
        ):
            sums[name] = [sum(column) for column in zip(*(sums[part] for part in parts), strict=True)]
        expected = {name: [round(value + 1e-9, 2) for value in values] for name, values in sums.items()}
        table = OPERATIONS.partition("## What it costs")[2].partition("## Change")[0]
        rows = {}
        for line in table.splitlines():
            cells = [cell.strip(" *") for cell in line.strip("|").split("|")]
            if len(cells) == 5 and re.fullmatch(r"[\d.,]+", cells[2]):
                rows[cells[0].partition(" (")[0]] = [float(cell.replace(",", "")) for cell in cells[2:]]
        self.assertEqual(rows, expected)


if __name__ == "__main__":
    unittest.main()
