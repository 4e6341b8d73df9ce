"""Tampering: calls that can stop the alerts, checked against the event patterns of guard.yaml, as EventBridge would: a
call on a resource of the guarded stack matches one of them, the same call on another resource matches none.

The emulator's own event matcher decides. It follows EventBridge's, and refuses the patterns that EventBridge refuses.
"""

import fnmatch
import json
import unittest
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml
from ministack.services import eventbridge

from expanded import ACCOUNT, ROOT, Expanded

DATA = yaml.safe_load(Path(__file__).with_name("tamper.yaml").read_text())
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
STACKS = {name: Expanded(**parameters) for name, parameters in DATA["stacks"].items()}
GUARDS = {name: stack.beside("guard.yaml") for name, stack in STACKS.items()}
TRAIL, GUARD = STACKS["trail"], GUARDS["trail"]
RULES = set(GUARD.of_type("AWS::Events::Rule"))
ALERTS = f"arn:aws:sns:us-west-2:{ACCOUNT}:AlertTopic"
# Of a stack's name: a rule's name has 64 characters, and "-tamper-operators" is appended to it.
LONGEST = 45


def event(service: str, call: str, parameters: Any) -> dict:
    """A call as EventBridge sends it. Parameters: see tamper.yaml."""
    if parameters is not None and "requestParameters" not in parameters:
        parameters = {"requestParameters": parameters}
    happened = {"eventSource": f"{service}.amazonaws.com", "eventName": call, **(parameters or {})}
    return {**DATA["event"], "source": f"aws.{service}", "detail": {**DATA["event"]["detail"], **happened}}


def compact(pattern: dict) -> str:
    return json.dumps(pattern, separators=(",", ":"))


def matched(name: str, happened: dict) -> set[str]:
    """The rules of a stack and its guard that an event matches."""
    found = set()
    rules = STACKS[name].of_type("AWS::Events::Rule") | GUARDS[name].of_type("AWS::Events::Rule")
    for name, rule in ((key, rule) for key, rule in rules.items() if "EventPattern" in rule["Properties"]):
        test = {"Event": json.dumps(happened), "EventPattern": compact(rule["Properties"]["EventPattern"])}
        status, _headers, body = eventbridge._test_event_pattern(test)
        assert status == 200, (name, body)
        if json.loads(body)["Result"]:
            found.add(name)
    return found


def silencing() -> Iterator[tuple[str, dict, str]]:
    for case in DATA["silencing"]:
        for call in case["calls"].split():
            yield case["stack"], case, call


class Tampering(unittest.TestCase):
    def test_what_silences_the_alerter_matches_and_its_neighbour_does_not(self) -> None:
        for name, case, call in silencing():
            for each in case["ours"]:
                parameters = {k: STACKS[name].fn_sub(v) if "$" in str(v) else v for k, v in each.items()}
                with self.subTest(name, call=call, parameters=parameters):
                    self.assertTrue(matched(name, event(case["service"], call, parameters)) & RULES)
            for parameters in case.get("neighbours", []):
                with self.subTest(name, call=call, neighbour=parameters):
                    self.assertEqual(matched(name, event(case["service"], call, parameters)), set())

    def test_calls_whose_parameters_cloudtrail_omitted_are_not_ruled_out(self) -> None:
        large = {"reason": "requestParameters too large", "omitted": True, "originalSize": 108417}
        as_text = {**large, "omitted": "true", "originalSize": "108417"}
        for form in (large, as_text, "HIDDEN_DUE_TO_SECURITY_REASONS"):
            for name, case, call in silencing():
                with self.subTest(name, call=call, form=form):
                    happened = event(case["service"], call, {"requestParameters": form})
                    self.assertTrue(matched(name, happened) & RULES)
            for service, call, other in (
                ("ec2", "RunInstances", form),
                ("iam", "PutRolePolicy", {"roleName": "r", "omitted": False}),
                ("iam", "PutRolePolicy", {"roleName": "r"}),
            ):
                with self.subTest(call, form=other):
                    happened = event(service, call, {"requestParameters": other})
                    self.assertEqual(matched("trail", happened) & RULES, set())

    def test_ordinary_calls_match_no_rule(self) -> None:
        for service, call, parameters in DATA["ordinary"]:
            with self.subTest(call):
                self.assertEqual(matched("trail", event(service, call, parameters)) & RULES, set())

    def test_every_call_in_a_pattern_is_tried(self) -> None:
        tried = {(case["service"], call) for _, case, call in silencing()}
        for guard in GUARDS.values():
            for rule in RULES:
                for branch in guard.properties(rule)["EventPattern"]["detail"]["$or"]:
                    service = branch["eventSource"][0].partition(".")[0]
                    for call in branch.get("eventName", []):
                        prefix = call if isinstance(call, str) else call["prefix"]
                        with self.subTest(service, call=prefix):
                            self.assertTrue(any(s == service and c.startswith(prefix) for s, c in tried))

    def test_calls_of_other_accounts_and_events_that_anybody_can_send_are_not_trusted(self) -> None:
        real = event("sns", "DeleteTopic", {"topicArn": ALERTS})
        self.assertEqual(matched("trail", real), {"TamperAlertRule"})
        for change in ({"account": "444455556666"}, {"source": "my.service"}, {"detail-type": "DeleteTopic"}):
            self.assertEqual(matched("trail", {**real, **change}), set())
        # AWS has another name in China.
        in_china = {**real, "detail-type": "Amazon API Call via CloudTrail"}
        self.assertEqual(matched("trail", in_china), {"TamperAlertRule"})

    def test_no_tamper_rule_can_be_switched_off_unseen(self) -> None:
        for rule in RULES:
            off = event("events", "DisableRule", {"name": GUARD.properties(rule)["Name"]})
            self.assertEqual(matched("trail", off) | {rule}, {rule, "TamperFirstRule", "TamperSecondRule"})

    def test_a_deployment_of_the_guard_sends_few_notices(self) -> None:
        def calls(resource: str) -> list[dict]:
            name = GUARD.properties(resource).get("Name")
            if name is None:
                return [event("monitoring", "PutMetricAlarm", {"alarmName": f"{GUARD.stack}-guard"})]
            return [event("events", "PutRule", {"name": name}), event("events", "PutTargets", {"rule": name})]

        # CloudTrail takes about a minute: a call meets the rules that are created together with it, too.
        first, graph, made = 0, GUARD.dependencies(), set()
        while made != set(graph):
            together = {name for name in set(graph) - made if graph[name] <= made}
            made |= together
            first += sum(len(matched("trail", call) & made) for name in together for call in calls(name))
        update = [call for name in (*RULES, "GuardAlarm") for call in calls(name)]
        update.append(event("cloudformation", "ExecuteChangeSet", {"stackName": GUARD.stack}))
        largest = sum(len(matched("trail", call)) for call in update)
        text = f"The first deployment of `guard.yaml` sends at most {first} notices, and an update at most {largest}"
        self.assertIn(text, OPERATIONS)

    def test_the_fast_path_matches_calls_on_clusters_and_key_stores(self) -> None:
        for service, call, expected in (
            ("cloudhsm", "DeleteBackup", True),
            ("kms", "DisconnectCustomKeyStore", True),
            ("kms", "Decrypt", False),
            ("s3", "DeleteBucket", False),
        ):
            self.assertEqual("FastPathRule" in matched("trail", event(service, call, None)), expected, call)

    def test_patterns_fit(self) -> None:
        stack = "s" * LONGEST
        options = {"partition": "aws-us-gov", "region": "us-gov-west-1", "stack": "g" * 128, "AlertsStack": stack}
        longest = {f"{stack}-{name}": start + "x" * count for name, (start, count) in DATA["longest"].items()}
        guard = Expanded("guard.yaml", imports=longest, **options)
        for rule in map(guard.properties, RULES):
            with self.subTest(rule["Name"]):
                self.assertLessEqual(len(rule["Name"]), 64)
                self.assertLessEqual(len(compact(rule["EventPattern"])), 2048)

    def test_notices_bypass_the_function(self) -> None:
        for name, guard in GUARDS.items():
            allowed = STACKS[name].statements("FailureQueuePolicy")["RuleFailures"]["Condition"]["ArnLike"]
            for key in RULES:
                (target,) = guard.properties(key)["Targets"]
                self.assertEqual(target["Arn"], STACKS[name].outputs["OperatorsTopicArn"])
                self.assertEqual(target["DeadLetterConfig"], {"Arn": STACKS[name].outputs["FailureQueueArn"]})
                arn = guard.fn_getatt(f"{key}.Arn")
                self.assertTrue(any(fnmatch.fnmatchcase(arn, pattern) for pattern in allowed["aws:SourceArn"]))
                self.assertIn(
                    f",source_rule={guard.properties(key)['Name']},", STACKS[name].variables()["WATCHED"] + ","
                )

    def test_the_mail_holds_what_happened_and_nothing_that_the_caller_wrote(self) -> None:
        happened = event("sns", "DeleteTopic", {"topicArn": ALERTS, "note": "see https://example.com"})
        parts = {key: value for key, value in happened.items() if key != "detail"}
        # As the emulator hands it to an input transformer.
        envelope = SimpleNamespace(event_with_detail=lambda: happened, envelope=lambda: parts)
        texts = set()
        for rule in RULES:
            transformer = GUARD.properties(rule)["Targets"][0]["InputTransformer"]
            texts.add(eventbridge._apply_input_transformer(transformer, None, envelope))
        self.assertEqual(texts, {DATA["mail"].strip()})


if __name__ == "__main__":
    unittest.main()
