"""Tampering: calls that silence the alerter, checked against the event patterns of the stack's tamper rules, as
EventBridge would: a call on a thing of this stack matches one of them, the same call on its neighbour matches none.

The emulator's own event matcher decides. It follows EventBridge's, and refuses the patterns that EventBridge refuses.
"""

import json
import unittest
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from ministack.services import eventbridge

from expanded import ACCOUNT, Expanded

DATA = yaml.safe_load(Path(__file__).with_name("tamper.yaml").read_text())
STACKS = {name: Expanded(**parameters) for name, parameters in DATA["stacks"].items()}
TRAIL = STACKS["trail"]
RULES = {"TamperInRule", "TamperRunRule", "TamperOutRule", "TamperAlarmRule", "TamperBaseRule"}
KEY = DATA["stacks"]["trail"]["TrailKmsKeyArn"]
ALERTS = f"arn:aws:sns:us-west-2:{ACCOUNT}:AlertTopic"
# Of a stack's name: a rule's name has 64 characters, and "-tamper-alarm" is appended to it.
LONGEST = 51


class LongNamed(Expanded):
    """A stack of the longest name, in which CloudFormation makes up names as long as they get."""

    def made_up(self, name: str) -> str:
        return f"{self.stack}-{name}-1A2B3C4D5E6F"[:80]


def event(service: str, call: str, parameters: Any) -> dict:
    """A call as EventBridge sends it. Parameters: see tamper.yaml."""
    if parameters is None:
        parameters = {}
    elif "requestParameters" not in parameters:
        parameters = {"requestParameters": parameters}
    time = "2026-11-25T03:41:09Z"
    arn = f"arn:aws:sts::{ACCOUNT}:assumed-role/admin/mallory"
    return {
        "version": "0",
        "id": "7bf73129-1428-4cd3-a780-95db273d1602",
        "source": f"aws.{service}",
        "detail-type": "AWS API Call via CloudTrail",
        "account": ACCOUNT,
        "region": "us-west-2",
        "time": time,
        "resources": [],
        "detail": {
            "eventVersion": "1.11",
            "eventSource": f"{service}.amazonaws.com",
            "eventName": call,
            "awsRegion": "us-west-2",
            "eventTime": time,
            "eventID": "c9d3b7a1-64f8-4b7e-9c1e-2f7a1d0b8e02",
            "sourceIPAddress": "203.0.113.77",
            "userAgent": "see https://example.com",
            "userIdentity": {"type": "AssumedRole", "arn": arn, "accessKeyId": "ASIAIOSFODNN7EXAMPLE"},
            **parameters,
        },
    }


def compact(pattern: dict) -> str:
    return json.dumps(pattern, separators=(",", ":"))


def matched(stack: Expanded, happened: dict) -> set[str]:
    """The rules of the stack that an event matches."""
    found = set()
    for name, rule in stack.of_type("AWS::Events::Rule").items():
        test = {"Event": json.dumps(happened), "EventPattern": compact(rule["Properties"]["EventPattern"])}
        status, _headers, body = eventbridge._test_event_pattern(test)
        assert status == 200, (name, body)
        if json.loads(body)["Result"]:
            found.add(name)
    return found


def substituted(stack: Expanded, parameters: dict) -> dict:
    return {key: stack.fn_sub(value) if isinstance(value, str) else value for key, value in parameters.items()}


def silencing() -> Iterator[tuple[str, dict, str]]:
    for case in DATA["silencing"]:
        for call in case["calls"].split():
            yield case["stack"], case, call


class Tampering(unittest.TestCase):
    def test_what_silences_the_alerter_matches_and_its_neighbour_does_not(self) -> None:
        for name, case, call in silencing():
            stack = STACKS[name]
            for parameters in (substituted(stack, each) for each in case["ours"]):
                with self.subTest(name, call=call, parameters=parameters):
                    self.assertTrue(matched(stack, event(case["service"], call, parameters)) & RULES)
            for parameters in case.get("neighbours", []):
                with self.subTest(name, call=call, neighbour=parameters):
                    self.assertEqual(matched(stack, event(case["service"], call, parameters)), set())

    def test_calls_whose_parameters_cloudtrail_omitted_are_not_ruled_out(self) -> None:
        large = {"reason": "requestParameters too large", "omitted": True, "originalSize": 108417}
        as_text = {**large, "omitted": "true", "originalSize": "108417"}
        for form in (large, as_text, "HIDDEN_DUE_TO_SECURITY_REASONS"):
            for name, case, call in silencing():
                with self.subTest(name, call=call, form=form):
                    happened = event(case["service"], call, {"requestParameters": form})
                    self.assertTrue(matched(STACKS[name], happened) & RULES)
            for service, call, other in (
                ("ec2", "RunInstances", form),
                ("iam", "PutRolePolicy", {"roleName": "r", "omitted": False}),
                ("iam", "PutRolePolicy", {"roleName": "r"}),
            ):
                with self.subTest(call, form=other):
                    happened = event(service, call, {"requestParameters": other})
                    self.assertEqual(matched(TRAIL, happened) & RULES, set())

    def test_ordinary_calls_match_no_rule(self) -> None:
        for service, call, parameters in DATA["ordinary"]:
            with self.subTest(call):
                self.assertEqual(matched(TRAIL, event(service, call, parameters)) & RULES, set())

    def test_every_call_in_a_pattern_is_tried(self) -> None:
        tried = {(case["service"], call) for _, case, call in silencing()}
        for stack in STACKS.values():
            for rule in RULES:
                for branch in stack.properties(rule)["EventPattern"]["detail"]["$or"]:
                    service = branch["eventSource"][0].partition(".")[0]
                    for call in branch.get("eventName", []):
                        prefix = call if isinstance(call, str) else call["prefix"]
                        with self.subTest(service, call=prefix):
                            self.assertTrue(any(s == service and c.startswith(prefix) for s, c in tried))

    def test_calls_of_other_accounts_and_events_that_anybody_can_send_are_not_trusted(self) -> None:
        real = event("sns", "DeleteTopic", {"topicArn": ALERTS})
        self.assertEqual(matched(TRAIL, real), {"TamperOutRule"})
        for change in ({"account": "444455556666"}, {"source": "my.service"}, {"detail-type": "DeleteTopic"}):
            self.assertEqual(matched(TRAIL, {**real, **change}), set())
        # AWS has another name in China.
        self.assertEqual(matched(TRAIL, {**real, "detail-type": "Amazon API Call via CloudTrail"}), {"TamperOutRule"})

    def test_no_tamper_rule_can_be_switched_off_unseen(self) -> None:
        for rule in RULES:
            off = event("events", "DisableRule", {"name": TRAIL.properties(rule)["Name"]})
            self.assertNotEqual(matched(TRAIL, off) - {rule}, set())

    def test_the_fast_path_matches_calls_on_clusters_and_key_stores(self) -> None:
        for service, call, expected in (
            ("cloudhsm", "DeleteBackup", True),
            ("kms", "DisconnectCustomKeyStore", True),
            ("kms", "Decrypt", False),
            ("s3", "DeleteBucket", False),
        ):
            self.assertEqual("FastPathRule" in matched(TRAIL, event(service, call, None)), expected, call)

    def test_patterns_fit_and_targets_bypass_the_function(self) -> None:
        everything = {"AlertEmail": "a@example.com", "AlertPhoneNumber": "+12065550100", "FastPath": "on"}
        everything |= {"RedriveFailures": "on", "RulesBucket": "r" * 63, "RulesKmsKeyArn": KEY}
        everything |= {"AlertTopicKmsKeyArn": KEY, "stack": "s" * LONGEST}
        for name, parameters in DATA["stacks"].items():
            stack = LongNamed(partition="aws-us-gov", region="us-gov-west-1", **{**everything, **parameters})
            for key, rule in stack.of_type("AWS::Events::Rule").items():
                with self.subTest(name, rule=key):
                    self.assertLessEqual(len(rule["Properties"]["Name"]), 64)
                    self.assertLessEqual(len(compact(rule["Properties"]["EventPattern"])), 2048)
            for key in RULES:
                (target,) = stack.properties(key)["Targets"]
                self.assertEqual(target["Arn"], stack.outputs["OperatorsTopicArn"])
                self.assertEqual(target["DeadLetterConfig"], {"Arn": stack.outputs["FailureQueueArn"]})

    def test_the_mail_holds_what_happened_and_nothing_that_the_caller_wrote(self) -> None:
        happened = event("sns", "DeleteTopic", {"topicArn": ALERTS, "note": "see https://example.com"})
        texts = set()
        for rule in RULES:
            transformer = TRAIL.properties(rule)["Targets"][0]["InputTransformer"]
            texts.add(eventbridge._apply_input_transformer(transformer, None, Envelope(happened)))
        self.assertEqual(texts, {DATA["mail"].strip()})


class Envelope:
    """An event as the emulator hands it to an input transformer."""

    def __init__(self, happened: dict) -> None:
        self.happened = happened

    def event_with_detail(self) -> dict:
        return self.happened

    def envelope(self) -> dict:
        return {key: value for key, value in self.happened.items() if key != "detail"}


if __name__ == "__main__":
    unittest.main()
