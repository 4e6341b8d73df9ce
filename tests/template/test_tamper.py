"""Tampering: calls that silence the alerter, held against the event patterns of the stack's
tamper rules, as EventBridge would: a call on a thing of this stack meets one of them, the same
call on its neighbour meets none.

The emulator's own event matcher decides. It follows EventBridge's, and refuses the patterns that
EventBridge refuses. How records spell their parameters is CloudTrail's, case included.
"""

import json
import unittest

from ministack.services import eventbridge

from expanded import ACCOUNT, Expanded

REGION = "us-west-2"
KEY = "0f4a7c31-58d2-4b6e-9a13-c2d7e8f90a1b"
KEY_ARN = "arn:aws:kms:{}:{}:key/{}".format(REGION, ACCOUNT, KEY)
TOPIC = "arn:aws:sns:{}:{}:log-files".format(REGION, ACCOUNT)
QUEUE = "arn:aws:sqs:{}:{}:log-files".format(REGION, ACCOUNT)
FUNCTION = "arn:aws:lambda:{}:{}:function:cloudhsm-alerts".format(REGION, ACCOUNT)
MAPPING = "9c5b3a1e-0000-4000-8000-000000000001"

EXISTING = {"ExistingBucketName": "central-logs", "AlertEmail": "a@example.com"}
STACKS = {
    "trail": {"AlertEmail": "a@example.com", "TrailKmsKeyArn": KEY_ARN, "FastPath": "on", "RulesBucket": "our-rules"},
    "bucket": dict(EXISTING, TrailSource="ExistingBucketEventBridge"),
    "other": dict(EXISTING, TrailSource="ExistingBucketEventBridge", BucketOwnerAccount="444455556666"),
    "phone": {"AlertPhoneNumber": "+12065550100", "OperatorsEmail": "ops@example.com"},
    "topic": dict(EXISTING, TrailSource="ExistingTopic", ExistingTopicArn=TOPIC),
    "queue": dict(EXISTING, TrailSource="ExistingQueue", ExistingQueueArn=QUEUE),
    "topics that exist": {
        "AlertTopicArn": "arn:aws:sns:{}:{}:alerts".format(REGION, ACCOUNT),
        "OperatorsTopicArn": "arn:aws:sns:{}:{}:operators".format(REGION, ACCOUNT),
    },
}
# Of a stack: a rule's name has 64 characters, and "-tamper-alarm" is put behind it.
LONGEST = 51
RULES = ("TamperInRule", "TamperRunRule", "TamperOutRule", "TamperAlarmRule", "TamperBaseRule")

ALERTS = "arn:aws:sns:{}:{}:AlertTopic".format(REGION, ACCOUNT)
OPERATORS = "arn:aws:sns:{}:{}:OperatorsTopic".format(REGION, ACCOUNT)


def request(**parameters):
    return {"requestParameters": parameters}


# Stack, service, calls, what the record holds of a thing of the stack, and of its neighbours.
SILENCING = [
    ("trail", "lambda", (
        "DeleteFunction20150331 DeleteFunctionConcurrency20171031 DeleteFunctionEventInvokeConfig PutFunctionConcurrency20171031 "
        "PutFunctionEventInvokeConfig RemovePermission20150331v2 UpdateFunctionCode20150331v2 "
        "UpdateFunctionConfiguration20150331v2 UpdateFunctionEventInvokeConfig"
    ), [
        request(functionName=name) for name in (
            "cloudhsm-alerts", "cloudhsm-alerts:$LATEST", "function:cloudhsm-alerts", ACCOUNT + ":function:cloudhsm-alerts",
            FUNCTION, FUNCTION + ":$LATEST",
        )
    ], [request(functionName=name) for name in ("cloudhsm-alerts-dev", "other", FUNCTION + "-chat", "not-cloudhsm-alerts")]),
    ("trail", "lambda", "PutResourcePolicy DeleteResourcePolicy",
        [request(resourceArn=FUNCTION), request(resourceArn=FUNCTION + ":1")], [request(resourceArn=FUNCTION + "-chat")]),
    ("queue", "lambda", "DeleteEventSourceMapping20150331 UpdateEventSourceMapping20150331",
        [
            {"requestParameters": {"uUID": MAPPING}, "responseElements": {"functionArn": FUNCTION, "state": "Disabling"}},
            {"requestParameters": {"uUID": "SourceQueueMapping"}, "responseElements": None, "errorCode": "ResourceInUseException"},
        ],
        [{"requestParameters": {"uUID": MAPPING}, "responseElements": {"functionArn": FUNCTION + "-chat"}}]),
    ("queue", "lambda", "CreateEventSourceMapping20150331",
        [request(functionName="mine", eventSourceArn=arn) for arn in (QUEUE, QUEUE.replace("log-files", "FailureQueue"))],
        [request(functionName="mine", eventSourceArn=QUEUE + "-2")]),
    ("trail", "events", "DisableRule DeleteRule PutRule",
        [request(name="cloudhsm-alerts-" + rule) for rule in ("tamper-in", "tamper-run", "tamper-out", "tamper-alarm", "tamper-base", "fast-path")],
        [request(name="cloudhsm-alerts-dev-tamper-in"), request(name="nightly")]),
    ("bucket", "events", "RemoveTargets PutTargets",
        [request(rule="cloudhsm-alerts-log-files", ids=["function"])], [request(rule="log-files", ids=["function"])]),
    ("other", "events", "RemovePermission PutPermission",
        [request(eventBusName="cloudhsm-alerts-log-files")], [request(eventBusName="default"), request()]),
    ("trail", "s3", (
        "PutBucketNotification DeleteBucket PutBucketPolicy DeleteBucketPolicy PutBucketEncryption PutBucketLifecycle "
        "PutBucketVersioning"
    ), [request(bucketName="cloudhsm-alerts-trail-" + ACCOUNT)], [request(bucketName="photos"), request()]),
    ("bucket", "s3", "PutBucketNotification",
        [request(bucketName="central-logs")], [request(bucketName="cloudhsm-alerts-trail-" + ACCOUNT)]),
    ("trail", "s3", "PutBucketPolicy DeleteBucket", [request(bucketName="our-rules")], [request(bucketName="our-rules-2")]),
    ("topic", "sns", "DeleteTopic RemovePermission SetTopicAttributes", [request(topicArn=TOPIC)], [request(topicArn=TOPIC + "-2")]),
    ("topic", "sns", "Unsubscribe SetSubscriptionAttributes",
        [request(subscriptionArn=TOPIC + ":5be8f5b0-1b4a-4d0c-9a57-000000000001")],
        # Somebody else's subscription to a topic that many use.
        [request(subscriptionArn=TOPIC + ":5be8f5b0-1b4a-4d0c-9a57-000000000002")]),
    ("trail", "sns", "DeleteTopic AddPermission RemovePermission SetTopicAttributes",
        [request(topicArn=ALERTS), request(topicArn=OPERATORS)], [request(topicArn=ALERTS + "-2")]),
    ("topics that exist", "sns", "SetTopicAttributes",
        [request(topicArn=STACKS["topics that exist"][name]) for name in ("AlertTopicArn", "OperatorsTopicArn")],
        [request(topicArn=ALERTS)]),
    ("phone", "sns", "SetSMSAttributes", [request(attributes={"MonthlySpendLimit": "0"})], []),
    ("trail", "sns", "PutDataProtectionPolicy", [request(resourceArn=ALERTS)], [request(resourceArn=TOPIC)]),
    ("trail", "sns", "Unsubscribe SetSubscriptionAttributes",
        [request(subscriptionArn=ALERTS + ":1"), request(subscriptionArn=OPERATORS + ":1")], [request(subscriptionArn=ALERTS + "-2:1")]),
    ("trail", "monitoring", "DeleteAlarms DisableAlarmActions",
        [request(alarmNames=["cpu", "cloudhsm-alerts-heartbeat"])], [request(alarmNames=["cpu"])]),
    ("trail", "monitoring", "PutMetricAlarm SetAlarmState",
        [request(alarmName="cloudhsm-alerts-heartbeat")], [request(alarmName="cloudhsm-heartbeat")]),
    ("trail", "monitoring", "PutAlarmMuteRule",
        [request(name="m", muteTargets={"alarmNames": ["cloudhsm-alerts-errors"]}), request(name="m")],
        [request(name="m", muteTargets={"alarmNames": ["cpu"]})]),
    ("trail", "cloudtrail", "StopLogging DeleteTrail UpdateTrail",
        [request(name="cloudhsm-alerts-trail"), request(name="arn:aws:cloudtrail:us-west-2:111122223333:trail/cloudhsm-alerts-trail")],
        [request(name="management-events")]),
    ("trail", "cloudtrail", "PutEventSelectors",
        [request(trailName="cloudhsm-alerts-trail")], [request(trailName="management-events")]),
    # Which trail it is, the stack does not know.
    ("bucket", "cloudtrail", "StopLogging DeleteTrail UpdateTrail PutEventSelectors", [request(name="management-events")], []),
    ("trail", "cloudformation", "DeleteStack UpdateStack ExecuteChangeSet SetStackPolicy UpdateTerminationProtection RollbackStack",
        [request(stackName="cloudhsm-alerts"), request(stackName="arn:aws:cloudformation:us-west-2:111122223333:stack/cloudhsm-alerts/0a1b")],
        [request(stackName="cloudhsm-alerts-dev"), request(stackName="arn:aws:cloudformation:us-west-2:111122223333:stack/website/0a1b")]),
    ("trail", "iam", (
        "DeleteRole DeleteRolePolicy PutRolePolicy AttachRolePolicy DetachRolePolicy UpdateAssumeRolePolicy PutRolePermissionsBoundary"
    ), [request(roleName="FunctionRole")], [request(roleName="FunctionRole2")]),
    ("trail", "kms", "DisableKey ScheduleKeyDeletion PutKeyPolicy DeleteImportedKeyMaterial",
        [request(keyId=KEY), request(keyId=KEY_ARN), request(keyId=Expanded(**STACKS["trail"]).reference("OperatorsTopicKey"))],
        [request(keyId="1f4a7c31-58d2-4b6e-9a13-c2d7e8f90a1c")]),
    ("trail", "sqs", "DeleteQueue PurgeQueue RemovePermission SetQueueAttributes",
        [request(queueUrl="https://sqs.us-west-2.amazonaws.com/111122223333/FailureQueue")],
        [request(queueUrl="https://sqs.us-west-2.amazonaws.com/111122223333/OtherFailureQueue")]),
    ("queue", "sqs", "DeleteQueue PurgeQueue SetQueueAttributes",
        [request(queueUrl="https://sqs.us-west-2.amazonaws.com/111122223333/log-files")],
        [request(queueUrl="https://sqs.us-west-2.amazonaws.com/111122223333/log-files-2")]),
    ("trail", "logs", "DeleteLogGroup DeleteLogStream PutRetentionPolicy AssociateKmsKey",
        [request(logGroupName="FunctionLogs")], [request(logGroupName="/aws/lambda/other")]),
    ("trail", "dynamodb", "DeleteTable UpdateTable UpdateTimeToLive",
        [request(tableName="Ledger"), request(tableName="arn:aws:dynamodb:us-west-2:111122223333:table/Ledger")],
        [request(tableName="Orders")]),
]

# What goes on all day around things of the stack, and is nobody's concern.
ORDINARY = [
    ("lambda", "TagResource20170331v2", request(resource=FUNCTION)),
    ("lambda", "CreateFunction20150331", request(functionName="website")),
    ("events", "PutRule", request(name="nightly")),
    ("s3", "PutBucketTagging", request(bucketName="cloudhsm-alerts-trail-" + ACCOUNT)),
    ("sns", "Subscribe", request(topicArn=ALERTS)),
    ("monitoring", "PutDashboard", request(dashboardName="cloudhsm-alerts")),
    ("logs", "CreateLogStream", request(logGroupName="FunctionLogs")),
    ("kms", "CreateGrant", request(keyId=KEY)),
    ("sqs", "DeleteQueue", {}),
    # Nobody is told by SMS.
    ("sns", "SetSMSAttributes", request(attributes={"MonthlySpendLimit": "0"})),
    ("cloudhsm", "DeleteBackup", request(backupId="backup-zxc7vbn2mas")),
]


class LongNamed(Expanded):
    """A stack of the longest name, in which CloudFormation makes up names as long as they get."""

    def made_up(self, name):
        return "{}-{}-1A2B3C4D5E6F".format(self.stack, name)[:80]


def event(service, call, more):
    return {
        "version": "0", "id": "7bf73129-1428-4cd3-a780-95db273d1602", "source": "aws." + service,
        "detail-type": "AWS API Call via CloudTrail", "account": ACCOUNT, "region": REGION, "time": "2026-11-25T03:41:09Z",
        "resources": [],
        "detail": {
            "eventVersion": "1.11", "eventSource": service + ".amazonaws.com", "eventName": call, "awsRegion": REGION,
            "eventTime": "2026-11-25T03:41:09Z", "eventID": "c9d3b7a1-64f8-4b7e-9c1e-2f7a1d0b8e02", "sourceIPAddress": "203.0.113.77",
            "userAgent": "see https://example.com",
            "userIdentity": {
                "type": "AssumedRole", "arn": "arn:aws:sts::111122223333:assumed-role/admin/mallory", "accessKeyId": "ASIAIOSFODNN7EXAMPLE",
            },
            **more,
        },
    }


def compact(pattern):
    return json.dumps(pattern, separators=(",", ":"))


def matched(stack, happened):
    """Which rules of the stack an event meets."""
    met = set()
    for name, rule in stack.of_type("AWS::Events::Rule").items():
        status, _headers, body = eventbridge._test_event_pattern({
            "Event": json.dumps(happened), "EventPattern": compact(rule["Properties"]["EventPattern"]),
        })
        assert status == 200, (name, body)
        if json.loads(body)["Result"]:
            met.add(name)
    return met


class Tampering(unittest.TestCase):
    def test_what_silences_the_alerter_is_told_and_what_is_beside_it_is_not(self):
        for stack, service, calls, ours, neighbours in SILENCING:
            expanded = Expanded(**STACKS[stack])
            for call in calls.split():
                for more in ours:
                    with self.subTest(stack, call=call, more=more):
                        self.assertTrue(matched(expanded, event(service, call, more)) & set(RULES))
                for more in neighbours:
                    with self.subTest(stack, call=call, neighbour=more):
                        self.assertEqual(matched(expanded, event(service, call, more)), set())

    def test_calls_whose_parameters_cloudtrail_omitted_are_not_ruled_out(self):
        large = {"reason": "requestParameters too large", "omitted": True, "originalSize": 108417}
        for form in (large, {**large, "omitted": "true", "originalSize": "108417"}, "HIDDEN_DUE_TO_SECURITY_REASONS"):
            for stack, service, calls, _, _ in SILENCING:
                for call in calls.split():
                    with self.subTest(stack, call=call, form=form):
                        happened = event(service, call, {"requestParameters": form})
                        self.assertTrue(matched(Expanded(**STACKS[stack]), happened) & set(RULES))
            for service, call, beside in (
                ("ec2", "RunInstances", form), ("iam", "PutRolePolicy", {"roleName": "r", "omitted": False}), ("iam", "PutRolePolicy", {"roleName": "r"}),
            ):
                with self.subTest(call, form=beside):
                    self.assertEqual(matched(Expanded(**STACKS["trail"]), event(service, call, {"requestParameters": beside})) & set(RULES), set())

    def test_what_goes_on_all_day_is_not_told(self):
        for service, call, more in ORDINARY:
            with self.subTest(call):
                self.assertEqual(matched(Expanded(**STACKS["trail"]), event(service, call, more)) & set(RULES), set())

    def test_every_call_in_a_pattern_is_tried(self):
        def prefixed(value):
            return value if isinstance(value, str) else value["prefix"]
        named = {
            (branch["eventSource"][0].partition(".")[0], prefixed(call))
            for parameters in STACKS.values() for rule in RULES
            for branch in Expanded(**parameters).properties(rule)["EventPattern"]["detail"]["$or"]
            for call in branch.get("eventName", [])
        }
        tried = {(service, call) for _, service, calls, _, _ in SILENCING for call in calls.split()}
        untried = {(service, call) for service, call in named if not any(s == service and c.startswith(call) for s, c in tried)}
        self.assertEqual(untried, set())

    def test_calls_of_other_accounts_and_events_that_anybody_can_send_are_not_believed(self):
        stack = Expanded(**STACKS["trail"])
        real = event("sns", "DeleteTopic", request(topicArn=ALERTS))
        self.assertEqual(matched(stack, real), {"TamperOutRule"})
        for change in ({"account": "444455556666"}, {"source": "my.service"}, {"detail-type": "DeleteTopic"}):
            self.assertEqual(matched(stack, {**real, **change}), set())
        # AWS calls itself otherwise in China.
        self.assertEqual(matched(stack, {**real, "detail-type": "Amazon API Call via CloudTrail"}), {"TamperOutRule"})

    def test_no_tamper_rule_can_be_switched_off_unseen(self):
        stack = Expanded(**STACKS["trail"])
        for rule in RULES:
            off = event("events", "DisableRule", request(name=stack.properties(rule)["Name"]))
            self.assertNotEqual(matched(stack, off) - {rule}, set())

    def test_the_fast_path_matches_calls_on_clusters_and_key_stores(self):
        stack = Expanded(**STACKS["trail"])
        for service, call, met in (
            ("cloudhsm", "DeleteBackup", True), ("kms", "DisconnectCustomKeyStore", True), ("kms", "Decrypt", False), ("s3", "DeleteBucket", False),
        ):
            self.assertEqual("FastPathRule" in matched(stack, event(service, call, {})), met, call)

    def test_patterns_fit_and_targets_bypass_the_function(self):
        everything = {
            "AlertEmail": "a@example.com", "AlertPhoneNumber": "+12065550100", "FastPath": "on", "RedriveFailures": "on", "RulesBucket": "r" * 63,
            "RulesKmsKeyArn": KEY_ARN, "AlertTopicKmsKeyArn": KEY_ARN,
        }
        for name, parameters in STACKS.items():
            stack = LongNamed(partition="aws-us-gov", region="us-gov-west-1", stack="s" * LONGEST, **{**everything, **parameters})
            for key, rule in stack.of_type("AWS::Events::Rule").items():
                with self.subTest(name, rule=key):
                    self.assertLessEqual(len(rule["Properties"]["Name"]), 64)
                    self.assertLessEqual(len(compact(rule["Properties"]["EventPattern"])), 2048)
            for key in RULES:
                target, = stack.properties(key)["Targets"]
                self.assertEqual(target["Arn"], stack.outputs["OperatorsTopicArn"])
                self.assertEqual(target["DeadLetterConfig"], {"Arn": stack.outputs["FailureQueueArn"]})

    def test_the_mail_says_what_happened_and_nothing_that_the_caller_wrote(self):
        happened = event("sns", "DeleteTopic", request(topicArn=ALERTS, note="see https://example.com"))
        texts = set()
        for rule in RULES:
            transformer = Expanded(**STACKS["trail"]).properties(rule)["Targets"][0]["InputTransformer"]
            texts.add(eventbridge._apply_input_transformer(transformer, None, Envelope(happened)))
        self.assertEqual(texts, {"\n".join([
            '"SOMEBODY CALLED AN OPERATION THAT CAN STOP THE CLOUDHSM ALERTS OF STACK cloudhsm-alerts. '
            'If this was not you or your own deployment, alerts may be missing: act now."',
            '"What: DeleteTopic of sns.amazonaws.com, in account 111122223333, us-west-2. Error code (empty if the call succeeded): "',
            '"Who: AssumedRole arn:aws:sts::111122223333:assumed-role/admin/mallory, access key ASIAIOSFODNN7EXAMPLE"',
            '"When: 2026-11-25T03:41:09Z"',
            '"Source IP: 203.0.113.77"',
            '"What to do: docs/operations.md, section tamper. To see the resource and the complete record: '
            'aws cloudtrail lookup-events --region us-west-2 '
            '--lookup-attributes AttributeKey=EventId,AttributeValue=c9d3b7a1-64f8-4b7e-9c1e-2f7a1d0b8e02"',
        ])})


class Envelope:
    """An event as the emulator hands it to an input transformer."""

    def __init__(self, happened):
        self.happened = happened

    def event_with_detail(self):
        return self.happened

    def envelope(self):
        return {key: value for key, value in self.happened.items() if key != "detail"}


if __name__ == "__main__":
    unittest.main()
