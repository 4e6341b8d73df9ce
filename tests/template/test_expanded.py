"""Who may call what, and what exists, for each way in which the template is used.

Every combination is expanded (see expanded.py) and held against the same rules: no
reference leads nowhere, nothing waits in a circle, every policy names its resources and
no action is a wildcard. Then each source of log files is looked at by itself, whole.
"""

import itertools
import json
import re
import sys
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

from expanded import ACCOUNT, ROOT, Expanded, Refused, source
# Run with the others.
from test_tamper import LONGEST, Tampering

OTHER = "444455556666"
KEY = "arn:aws:kms:us-west-2:{}:key/0f4a7c31-58d2-4b6e-9a13-c2d7e8f90a1b".format(ACCOUNT)
TOPIC = "arn:aws:sns:us-west-2:{}:log-files".format(OTHER)
QUEUE = "arn:aws:sqs:us-west-2:{}:log-files".format(OTHER)
FUNCTION_ARN = "arn:aws:lambda:us-west-2:{}:function:cloudhsm-alerts".format(ACCOUNT)
FAILURE_QUEUE = "arn:aws:sqs:us-west-2:{}:FailureQueue".format(ACCOUNT)
RULE = "arn:aws:events:us-west-2:{}:rule/".format(ACCOUNT)
TAMPER_RULES = [RULE + "cloudhsm-alerts-tamper-" + name for name in ("in", "run", "out", "alarm", "base")]

SOURCES = {
    "a new trail": {},
    "a new trail under a key": {"TrailKmsKeyArn": KEY},
    "an organization's trail": {"OrganizationId": "o-exampleorgid"},
    "an organization's trail, made by the delegated administrator":
        {"OrganizationId": "o-exampleorgid", "ManagementAccountId": OTHER},
    "a bucket": {"TrailSource": "ExistingBucketEventBridge", "ExistingBucketName": "central-logs"},
    "another account's bucket, encrypted": {
        "TrailSource": "ExistingBucketEventBridge", "ExistingBucketName": "central-logs",
        "BucketOwnerAccount": OTHER, "LogFilePrefix": "trails/", "TrailKmsKeyArn": KEY,
    },
    "a topic": {"TrailSource": "ExistingTopic", "ExistingTopicArn": TOPIC, "ExistingBucketName": "central-logs"},
    "another account's topic and bucket": {
        "TrailSource": "ExistingTopic", "ExistingTopicArn": TOPIC,
        "ExistingBucketName": "central-logs", "BucketOwnerAccount": OTHER,
    },
    "a queue": {"TrailSource": "ExistingQueue", "ExistingQueueArn": QUEUE, "ExistingBucketName": "central-logs"},
    "an encrypted queue": {
        "TrailSource": "ExistingQueue", "ExistingQueueArn": QUEUE, "ExistingQueueKmsKeyArn": KEY,
        "ExistingBucketName": "central-logs",
    },
    "a trusted queue": {
        "TrailSource": "ExistingQueue", "ExistingQueueArn": QUEUE, "TrustQueueRecords": "on", "ExistingBucketName": "central-logs",
    },
}
AUDIENCES = {
    "one": {"AlertEmail": "a@example.com"},
    "a phone, and operators": {"AlertPhoneNumber": "+12065550100", "OperatorsEmail": "ops@example.com"},
    "everybody": {
        "AlertEmail": "a@example.com", "SecondAlertEmail": "b@example.com", "ThirdAlertEmail": "c@example.com",
        "AlertPhoneNumber": "+12065550100", "SecondAlertPhoneNumber": "+12065550101", "OperatorsEmail": "ops@example.com",
    },
    "topics that exist, one of them encrypted": {
        "AlertTopicArn": "arn:aws:sns:eu-west-1:{}:alerts".format(ACCOUNT), "AlertTopicKmsKeyArn": KEY,
        "OperatorsTopicArn": "arn:aws:sns:us-west-2:{}:operators".format(ACCOUNT), "AlertEmail": "a@example.com",
    },
}
OPTIONS = {
    "plain": {},
    "everything": {
        "FastPath": "on", "RedriveFailures": "on", "Backfill": "on", "ReservedConcurrency": 20,
        "RulesBucket": "our-rules", "RulesKmsKeyArn": KEY,
        "PermissionsBoundaryArn": "arn:aws:iam::{}:policy/boundary".format(ACCOUNT),
    },
    "little": {"HeartbeatMinutes": 0, "Tracing": "PassThrough", "Architecture": "arm64"},
}
PARTITIONS = {"aws": "us-west-2", "aws-cn": "cn-north-1", "aws-us-gov": "us-gov-west-1"}

# Statements whose resource cannot be narrower, each with the reason in the template.
STAR = {"Trace"}


def stack_of(**parameters):
    """A stack that tells somebody: without, none is made."""
    return Expanded(**{**AUDIENCES["one"], **parameters})


def combinations():
    for names in itertools.product(SOURCES, AUDIENCES, OPTIONS):
        yield " / ".join(names), dict(SOURCES[names[0]], **AUDIENCES[names[1]], **OPTIONS[names[2]])


def as_list(value):
    return value if isinstance(value, list) else [value]


class EveryCombination(unittest.TestCase):
    def test_it_expands_without_loose_ends(self):
        for name, parameters in combinations():
            for partition, region in PARTITIONS.items():
                with self.subTest(name, partition=partition):
                    stack = stack_of(partition=partition, region=region, **parameters)
                    self.assertEqual(circle(stack.dependencies()), [])
                    if partition != "aws":
                        # What the parameters bring is the user's; the rest follows the partition.
                        given = "|".join(re.escape(str(value)) for value in parameters.values() if str(value).startswith("arn:"))
                        text = re.sub(given or "(?!)", "", str(stack))
                        self.assertNotIn('"arn:aws:', text)

    def test_no_policy_is_wider_than_its_resource(self):
        for name, parameters in combinations():
            stack = stack_of(**parameters)
            for role in stack.of_type("AWS::IAM::Role"):
                self.assertNotIn("ManagedPolicyArns", stack.properties(role), "managed policies are wider than needed")
                for sid, statement in stack.statements(role).items():
                    with self.subTest(name, role=role, statement=sid):
                        self.assertEqual(statement["Effect"], "Allow")
                        for action in as_list(statement["Action"]):
                            self.assertNotIn("*", action)
                        for resource in as_list(statement["Resource"]):
                            if sid in STAR:
                                continue
                            service, region, account, rest = split_arn(resource)
                            self.assertNotIn("*", service + region + account)
                            # A star ends a name that is otherwise whole.
                            self.assertRegex(rest, r"^[^*]{3,}\*?$")

    def test_only_named_sources_may_call(self):
        for name, parameters in combinations():
            stack = stack_of(**parameters)
            for key, permission in stack.of_type("AWS::Lambda::Permission").items():
                with self.subTest(name, permission=key):
                    properties = permission["Properties"]
                    self.assertEqual(properties["Action"], "lambda:InvokeFunction")
                    self.assertEqual(properties["FunctionName"], FUNCTION_ARN)
                    self.assertNotIn("*", properties["SourceArn"])
                    if properties["Principal"] != "sns.amazonaws.com":
                        self.assertEqual(properties["SourceAccount"], ACCOUNT)

    def test_whoever_is_anybody_is_only_ever_denied(self):
        for name, parameters in combinations():
            stack = stack_of(**parameters)
            for key, resource in stack.resources.items():
                policy = resource["Properties"].get("PolicyDocument") or resource["Properties"].get("KeyPolicy")
                for statement in (policy or {}).get("Statement", []):
                    with self.subTest(name, resource=key, statement=statement["Sid"]):
                        if statement["Principal"] == "*":
                            self.assertEqual(statement["Effect"], "Deny")
                            self.assertEqual(statement["Condition"], {"Bool": {"aws:SecureTransport": "false"}})
                        elif "Service" in statement["Principal"] and resource["Type"] != "AWS::KMS::Key":
                            condition = statement["Condition"]
                            named = {key for operator in condition.values() for key in operator}
                            self.assertIn("aws:SourceArn", named)

    def test_evidence_outlives_the_stack(self):
        for name, parameters in combinations():
            stack = stack_of(**parameters)
            for key, resource in stack.resources.items():
                kept = resource["Type"] in (
                    "AWS::S3::Bucket", "AWS::S3::BucketPolicy", "AWS::DynamoDB::Table", "AWS::SQS::Queue", "AWS::Logs::LogGroup"
                )
                with self.subTest(name, resource=key):
                    if kept:
                        self.assertEqual(resource["DeletionPolicy"], "RetainExceptOnCreate")
                        self.assertEqual(resource["UpdateReplacePolicy"], "Retain")
                    else:
                        self.assertNotIn("Retain", resource.get("DeletionPolicy", ""))

    def test_what_holds_data_is_encrypted_and_closed(self):
        for name, parameters in combinations():
            stack = stack_of(**parameters)
            with self.subTest(name):
                for bucket in stack.of_type("AWS::S3::Bucket").values():
                    properties = bucket["Properties"]
                    self.assertEqual(set(properties["PublicAccessBlockConfiguration"].values()), {True})
                    self.assertEqual(properties["VersioningConfiguration"], {"Status": "Enabled"})
                    self.assertIn("ServerSideEncryptionConfiguration", properties["BucketEncryption"])
                ledger = stack.properties("Ledger")
                self.assertEqual(ledger["SSESpecification"], {"SSEEnabled": True})
                self.assertEqual(ledger["PointInTimeRecoverySpecification"], {"PointInTimeRecoveryEnabled": True})
                self.assertEqual(ledger["KeySchema"], [{"AttributeName": "id", "KeyType": "HASH"}])
                self.assertEqual(ledger["TimeToLiveSpecification"], {"AttributeName": "expires_at", "Enabled": True})
                self.assertIs(stack.properties("FailureQueue")["SqsManagedSseEnabled"], True)
                for topic in stack.of_type("AWS::SNS::Topic").values():
                    self.assertIn("KmsMasterKeyId", topic["Properties"])

    def test_every_alarm_reaches_the_operators_and_a_runbook(self):
        runbook = (ROOT / "docs" / "operations.md").read_text()
        for name, parameters in combinations():
            stack = stack_of(**parameters)
            topic = stack.outputs["OperatorsTopicArn"]
            for key, alarm in stack.of_type("AWS::CloudWatch::Alarm").items():
                with self.subTest(name, alarm=key):
                    properties = alarm["Properties"]
                    self.assertEqual(properties["AlarmActions"], [topic])
                    self.assertEqual(properties["OKActions"], [topic])
                    short = properties["AlarmName"].removeprefix("cloudhsm-alerts-")
                    self.assertIn("\n### {}\n".format(short), runbook)
                    self.assertTrue(properties["AlarmDescription"].endswith('docs/operations.md, "{}".'.format(short)))
                    self.assertEqual(properties["TreatMissingData"], "breaching" if short == "heartbeat" else "notBreaching")


class Runbook(unittest.TestCase):
    def test_every_error_type_is_explained(self):
        sources = [path for folder in ("src", "crates") for path in sorted((ROOT / folder).rglob("*.rs"))]
        text = "\n".join(path.read_text() for path in sources)
        stages = "Object|LogFile|Payload|Publish|Ledger|Rules|Function|Reply"
        types = set(re.findall(r'"((?:{})\.[A-Z][A-Za-z]+)"'.format(stages), text))
        self.assertIn("Object.Denied", types)
        page = (ROOT / "docs" / "configuration.md").read_text()
        self.assertEqual({name for name in types if "`{}`".format(name) not in page}, set())


    def test_every_command_says_which_region_and_every_deployment_which_stack(self):
        # Without them, a command looks elsewhere, and a deployment makes a second stack.
        pages = [(ROOT / "docs" / name).read_text() for name in ("operations.md", "deploy.md", "backfill.md")]
        runbook = re.sub(r"\\\n\s*", " ", "\n".join(pages))
        commands = re.findall(r"`((?:aws|sam build && sam deploy|sam deploy|sam delete) [^`]+)`", runbook)
        commands += re.findall(r"^ {4,}((?:aws|sam deploy|sam delete) .+)$", runbook, re.MULTILINE)
        self.assertGreater(len(commands), 20)
        for command in commands:
            with self.subTest(command):
                # Buckets have a name of their own in all regions.
                if not re.match(r"aws s3(api)? ", command) and "…" not in command.split("--")[0]:
                    self.assertIn("--region REGION", command)
                if re.search(r"sam (deploy|delete) ", command):
                    self.assertIn("--stack-name STACK", command)


class Sources(unittest.TestCase):
    """What each source makes, and what the function may do with it, whole."""

    def check(self, name, extra_resources, extra_statements, reads, account=ACCOUNT):
        stack = stack_of(**SOURCES[name])
        common = {
            "AlertTopic", "AlertTopicPolicy", "CloudHsmAlertsFunction", "CloudHsmAlertsFunctionEventInvokeConfig",
            "FunctionRole", "FunctionLogs", "FailureQueue", "FailureQueuePolicy", "Ledger",
            "OperatorsTopic", "OperatorsTopicKey", "OperatorsTopicPolicy", "Dashboard",
            "TamperInRule", "TamperRunRule", "TamperOutRule", "TamperAlarmRule", "TamperBaseRule",
            "EmailSubscription", "OperatorsSubscription",
        }
        made = {key for key, resource in stack.resources.items() if resource["Type"] != "AWS::CloudWatch::Alarm"}
        self.assertEqual(made, common | set(extra_resources))
        statements = stack.statements("FunctionRole")
        self.assertEqual(set(statements), {
            "ReadLogFiles", "DistinguishMissingFromDenied", "PublishAlerts", "UseLedger", "SendFailures", "WriteLog", "Trace",
        } | set(extra_statements))
        self.assertEqual(statements["ReadLogFiles"]["Resource"], reads)
        for sid in ("ReadLogFiles", "DistinguishMissingFromDenied"):
            self.assertEqual(statements[sid]["Condition"], {"StringEquals": {"aws:ResourceAccount": account}})
        self.assertEqual(statements["DistinguishMissingFromDenied"]["Resource"], reads.split("/")[0])
        return stack

    def failures_from(self, stack):
        """Which sources of log files may put what they could not hand over into the failure queue."""
        allowed = {
            statement["Sid"]: (statement["Principal"]["Service"], statement["Condition"]["ArnEquals"]["aws:SourceArn"])
            for statement in stack.properties("FailureQueuePolicy")["PolicyDocument"]["Statement"]
            if statement["Effect"] == "Allow"
        }
        self.assertEqual(allowed.pop("TamperRuleFailures"), ("events.amazonaws.com", TAMPER_RULES))
        return allowed

    def live_when_ready(self, stack, rule, permission):
        """A rule begins to match when the function lets it in and its failures have a place."""
        self.assertEqual(as_list(stack.resources[rule]["DependsOn"]), [permission, "FailureQueuePolicy"])
        # Both know the rule before it is there.
        graph = stack.dependencies()
        self.assertNotIn(rule, graph[permission] | graph["FailureQueuePolicy"])

    def trail_writes(self, stack):
        statements = stack.properties("TrailBucketPolicy")["PolicyDocument"]["Statement"]
        acl, write, tls = statements
        self.assertEqual(tls["Effect"], "Deny")
        self.assertEqual(acl["Condition"]["StringEquals"]["aws:SourceArn"], write["Condition"]["StringEquals"]["aws:SourceArn"])
        self.assertEqual(write["Condition"]["StringEquals"]["s3:x-amz-acl"], "bucket-owner-full-control")
        return write["Condition"]["StringEquals"]["aws:SourceArn"], write["Resource"]

    NEW = ("TrailBucket", "TrailBucketMayInvoke", "TrailBucketPolicy", "Trail")
    BUCKET = "arn:aws:s3:::cloudhsm-alerts-trail-" + ACCOUNT

    def test_a_new_trail(self):
        stack = self.check("a new trail", self.NEW, (), self.BUCKET + "/AWSLogs/" + ACCOUNT + "/*")
        trail = stack.properties("Trail")
        self.assertEqual(
            {key: trail[key] for key in ("IsLogging", "IsMultiRegionTrail", "IsOrganizationTrail", "EnableLogFileValidation")},
            {"IsLogging": True, "IsMultiRegionTrail": True, "IsOrganizationTrail": False, "EnableLogFileValidation": True},
        )
        self.assertNotIn("KMSKeyId", trail)
        self.assertEqual(self.trail_writes(stack), (
            "arn:aws:cloudtrail:us-west-2:{}:trail/cloudhsm-alerts-trail".format(ACCOUNT), [self.BUCKET + "/AWSLogs/" + ACCOUNT + "/*"]
        ))
        configuration, = stack.properties("TrailBucket")["NotificationConfiguration"]["LambdaConfigurations"]
        self.assertEqual(configuration["Function"], FUNCTION_ARN)
        self.assertIn("TrailBucketMayInvoke", as_list(stack.resources["TrailBucket"]["DependsOn"]))
        self.assertEqual(stack.properties("TrailBucketMayInvoke")["SourceArn"], self.BUCKET)
        self.assertEqual(self.failures_from(stack), {})

    def test_a_new_trail_under_a_key(self):
        stack = self.check("a new trail under a key", self.NEW, ("DecryptLogFiles",), self.BUCKET + "/AWSLogs/" + ACCOUNT + "/*")
        self.assertEqual(stack.properties("Trail")["KMSKeyId"], KEY)
        self.assertEqual(stack.statements("FunctionRole")["DecryptLogFiles"], {
            "Sid": "DecryptLogFiles", "Effect": "Allow", "Action": "kms:Decrypt", "Resource": KEY,
            "Condition": {"StringLike": {"kms:ViaService": ["s3.*.amazonaws.com", "s3.*.amazonaws.com"]}},
        })

    def test_an_organizations_trail(self):
        reads = self.BUCKET + "/AWSLogs/o-exampleorgid/*"
        stack = self.check("an organization's trail", self.NEW, (), reads)
        self.assertIs(stack.properties("Trail")["IsOrganizationTrail"], True)
        self.assertEqual(self.trail_writes(stack), (
            "arn:aws:cloudtrail:us-west-2:{}:trail/cloudhsm-alerts-trail".format(ACCOUNT),
            [self.BUCKET + "/AWSLogs/" + ACCOUNT + "/*", reads],
        ))
        stack = self.check("an organization's trail, made by the delegated administrator", self.NEW, (), reads)
        self.assertEqual(self.trail_writes(stack), (
            "arn:aws:cloudtrail:us-west-2:{}:trail/cloudhsm-alerts-trail".format(OTHER),
            [self.BUCKET + "/AWSLogs/" + OTHER + "/*", reads],
        ))

    def test_a_bucket(self):
        stack = self.check("a bucket", ("LogFileRule", "LogFileRuleMayInvoke"), (), "arn:aws:s3:::central-logs/AWSLogs/*")
        rule = stack.properties("LogFileRule")
        self.assertEqual(rule["EventBusName"], "default")
        self.assertEqual(rule["EventPattern"], {
            "source": ["aws.s3"],
            "detail-type": ["Object Created"],
            "account": [ACCOUNT],
            "detail": {"bucket": {"name": ["central-logs"]}, "object": {"key": [
                {"wildcard": "AWSLogs/*/CloudTrail/*"}, {"wildcard": "AWSLogs/*/CloudTrail-NetworkActivity/*"},
            ]}},
        })
        self.assertEqual(rule["Targets"], [
            {"Id": "function", "Arn": FUNCTION_ARN, "DeadLetterConfig": {"Arn": FAILURE_QUEUE}}
        ])
        rule_arn = RULE + "cloudhsm-alerts-log-files"
        self.assertEqual(stack.fn_getatt("LogFileRule.Arn"), rule_arn)
        self.live_when_ready(stack, "LogFileRule", "LogFileRuleMayInvoke")
        self.assertEqual(
            stack.properties("SourceRuleAlarm")["Dimensions"], [{"Name": "RuleName", "Value": "cloudhsm-alerts-log-files"}]
        )
        self.assertEqual(stack.properties("LogFileRuleMayInvoke")["SourceArn"], rule_arn)
        self.assertEqual(self.failures_from(stack), {"LogFileRuleFailures": ("events.amazonaws.com", rule_arn)})

    def test_another_accounts_bucket(self):
        stack = self.check(
            "another account's bucket, encrypted",
            ("LogFileRule", "LogFileRuleMayInvoke", "SourceBus", "SourceBusPolicy"), ("DecryptLogFiles",),
            "arn:aws:s3:::central-logs/trails/AWSLogs/*", account=OTHER,
        )
        self.assertEqual(stack.properties("LogFileRule")["EventBusName"], "cloudhsm-alerts-log-files")
        self.assertEqual(stack.properties("LogFileRule")["EventPattern"]["account"], [OTHER])
        rule_arn = RULE + "cloudhsm-alerts-log-files/cloudhsm-alerts-log-files"
        self.assertEqual(stack.properties("LogFileRuleMayInvoke")["SourceArn"], rule_arn)
        self.assertEqual(self.failures_from(stack), {"LogFileRuleFailures": ("events.amazonaws.com", rule_arn)})
        self.live_when_ready(stack, "LogFileRule", "LogFileRuleMayInvoke")
        on_its_bus = [
            {"Name": "EventBusName", "Value": "cloudhsm-alerts-log-files"},
            {"Name": "RuleName", "Value": "cloudhsm-alerts-log-files"},
        ]
        self.assertEqual(stack.properties("SourceRuleAlarm")["Dimensions"], on_its_bus)
        lost = {metric["Id"]: metric for metric in stack.properties("DeadLettersAlarm")["Metrics"]}
        self.assertEqual(lost["log_files"]["MetricStat"]["Metric"]["Dimensions"], on_its_bus)
        statement = stack.properties("SourceBusPolicy")["Statement"]
        self.assertEqual(statement["Principal"], {"AWS": "arn:aws:iam::{}:root".format(OTHER)})
        self.assertEqual(statement["Action"], "events:PutEvents")
        self.assertEqual(statement["Resource"], stack.outputs["SourceBusArn"])

    def test_a_topic(self):
        for name, account in (("a topic", ACCOUNT), ("another account's topic and bucket", OTHER)):
            stack = self.check(
                name, ("SourceTopicMayInvoke", "SourceTopicSubscription"), (), "arn:aws:s3:::central-logs/AWSLogs/*", account=account
            )
            self.assertEqual(stack.properties("SourceTopicMayInvoke")["SourceArn"], TOPIC)
            self.assertEqual(stack.properties("SourceTopicSubscription"), {
                "TopicArn": TOPIC, "Protocol": "lambda", "Endpoint": FUNCTION_ARN,
                "RedrivePolicy": {"deadLetterTargetArn": FAILURE_QUEUE},
            })
            self.assertEqual(self.failures_from(stack), {"SourceTopicFailures": ("sns.amazonaws.com", TOPIC)})
            alarm = stack.properties("SourceTopicDeadLettersAlarm")
            self.assertEqual(alarm["MetricName"], "NumberOfNotificationsFailedToRedriveToDlq")
            self.assertEqual(alarm["Dimensions"], [{"Name": "TopicName", "Value": "log-files"}])

    def test_a_queue(self):
        for name, more in (("a queue", ()), ("an encrypted queue", ("DecryptNotifications",))):
            stack = self.check(
                name, ("SourceQueueMapping",), ("ReceiveNotifications",) + more, "arn:aws:s3:::central-logs/AWSLogs/*"
            )
            mapping = stack.properties("SourceQueueMapping")
            self.assertEqual(mapping["EventSourceArn"], QUEUE)
            self.assertEqual(mapping["FunctionResponseTypes"], ["ReportBatchItemFailures"])
            self.assertEqual(stack.statements("FunctionRole")["ReceiveNotifications"]["Resource"], QUEUE)
            alarm = stack.properties("SourceQueueAgeAlarm")
            self.assertEqual(alarm["Dimensions"], [{"Name": "QueueName", "Value": "log-files"}])
            self.assertEqual(stack.of_type("AWS::Lambda::Permission"), {})

    def test_what_fails_goes_to_the_failure_queue(self):
        for name, parameters in SOURCES.items():
            with self.subTest(name):
                invoke = stack_of(**parameters).properties("CloudHsmAlertsFunctionEventInvokeConfig")
                self.assertEqual(invoke["DestinationConfig"], {"OnFailure": {"Destination": FAILURE_QUEUE}})
                self.assertEqual(invoke["MaximumRetryAttempts"], 2)


class Options(unittest.TestCase):
    def test_subscribers_get_their_severities(self):
        stack = stack_of(**AUDIENCES["everybody"], EmailMinSeverity="medium")
        topic = stack.outputs["AlertTopicArn"]
        medium = {"severity": ["medium", "high", "critical"]}
        critical = {"severity": ["critical"], "page": [{"exists": False}]}
        found = {
            (properties["TopicArn"], properties["Protocol"], properties["Endpoint"]): properties.get("FilterPolicy")
            for properties in (resource["Properties"] for resource in stack.of_type("AWS::SNS::Subscription").values())
        }
        self.assertEqual(found, {
            (topic, "email", "a@example.com"): medium,
            (topic, "email", "b@example.com"): medium,
            (topic, "email", "c@example.com"): medium,
            (topic, "sms", "+12065550100"): critical,
            (topic, "sms", "+12065550101"): critical,
            (stack.outputs["OperatorsTopicArn"], "email", "ops@example.com"): None,
        })

    def test_alarms_reach_somebody_when_only_alerts_have_an_address(self):
        operators = stack_of(AlertEmail="a@example.com").properties("OperatorsSubscription")
        self.assertEqual(operators["Endpoint"], "a@example.com")

    def test_topics_that_exist_are_used_and_not_made(self):
        parameters = AUDIENCES["topics that exist, one of them encrypted"]
        stack = stack_of(**parameters)
        self.assertEqual(stack.of_type("AWS::SNS::Topic"), {})
        self.assertEqual(stack.of_type("AWS::KMS::Key"), {})
        self.assertEqual(stack.variables()["ALERT_TOPIC_ARN"], parameters["AlertTopicArn"])
        statements = stack.statements("FunctionRole")
        self.assertEqual(statements["PublishAlerts"]["Resource"], parameters["AlertTopicArn"])
        self.assertEqual(statements["EncryptAlerts"]["Action"], ["kms:Decrypt", "kms:GenerateDataKey"])
        self.assertEqual(statements["EncryptAlerts"]["Resource"], KEY)
        # The topic is in another region than the stack.
        self.assertEqual(stack.properties("EmailSubscription")["Region"], "eu-west-1")
        # An existing operators' topic is not subscribed to for the alerts' sake.
        self.assertNotIn("OperatorsSubscription", stack.resources)

    def test_only_this_stacks_alarms_and_tamper_rules_may_publish_to_the_operators(self):
        stack = stack_of()
        statements = {
            statement["Principal"]["Service"]: statement
            for statement in stack.properties("OperatorsTopicPolicy")["PolicyDocument"]["Statement"]
            if "Service" in statement["Principal"]
        }
        self.assertEqual(
            {service: (statement["Action"], statement["Condition"]) for service, statement in statements.items()},
            {
                "cloudwatch.amazonaws.com": ("sns:Publish", {
                    "StringEquals": {"aws:SourceAccount": ACCOUNT},
                    "ArnLike": {"aws:SourceArn": "arn:aws:cloudwatch:us-west-2:{}:alarm:cloudhsm-alerts-*".format(ACCOUNT)},
                }),
                "events.amazonaws.com": ("sns:Publish", {"ArnEquals": {"aws:SourceArn": TAMPER_RULES}}),
            },
        )
        allowed = {
            statement["Principal"]["Service"]: (statement["Action"], "Condition" in statement)
            for statement in stack.properties("OperatorsTopicKey")["KeyPolicy"]["Statement"]
            if "Service" in statement["Principal"]
        }
        # The key that AWS manages for SNS would keep both from publishing.
        unconditioned = (["kms:Decrypt", "kms:GenerateDataKey"], False)
        self.assertEqual(allowed, {"cloudwatch.amazonaws.com": unconditioned, "events.amazonaws.com": unconditioned})
        self.assertEqual(stack.properties("OperatorsTopic")["KmsMasterKeyId"], stack.reference("OperatorsTopicKey"))

    def test_every_call_that_the_ledger_makes_is_allowed(self):
        text = "\n".join(path.read_text() for path in sorted((ROOT / "src" / "ledger").glob("*.rs")))
        calls = set(re.findall(r"\.((?:batch_|transact_)?(?:get|put|update|delete|write)_items?|query|scan)\(\)", text))
        self.assertIn("put_item", calls)
        actions = {"dynamodb:" + "".join(word.capitalize() for word in call.split("_")) for call in calls}
        self.assertEqual(set(stack_of().statements("FunctionRole")["UseLedger"]["Action"]), actions)

    def test_the_failure_queue_is_given_back_only_when_asked(self):
        self.assertNotIn("FailureRedrive", stack_of().resources)
        self.assertNotIn("ReceiveFailures", stack_of().statements("FunctionRole"))
        stack = stack_of(RedriveFailures="on")
        self.assertEqual(stack.properties("FailureRedrive")["EventSourceArn"], FAILURE_QUEUE)
        self.assertEqual(stack.properties("FailureRedrive")["FunctionResponseTypes"], ["ReportBatchItemFailures"])
        timeout = stack.properties("CloudHsmAlertsFunction")["Timeout"]
        self.assertGreaterEqual(stack.properties("FailureQueue")["VisibilityTimeout"], 6 * timeout)

    def test_the_fast_path_takes_calls_of_cloudhsm_and_of_key_stores_alone(self):
        self.assertNotIn("FastPathRule", stack_of().resources)
        stack = stack_of(FastPath="on")
        self.assertEqual(stack.properties("FastPathRule")["EventPattern"], {
            "detail-type": [{"suffix": " API Call via CloudTrail"}],
            "account": [ACCOUNT],
            "source": [{"prefix": "aws."}],
            "detail": {"$or": [
                {"eventSource": ["cloudhsm.amazonaws.com", "cloudhsmv2.amazonaws.com"]},
                {"eventSource": ["kms.amazonaws.com"], "eventName": [
                    "ConnectCustomKeyStore", "CreateCustomKeyStore", "DeleteCustomKeyStore",
                    "DisconnectCustomKeyStore", "UpdateCustomKeyStore",
                ]},
            ]},
        })
        # Each call that a rule of the pack tells of key stores is taken.
        told = set(re.findall(r"\b[A-Z][a-z]+CustomKeyStore\b", "".join(
            path.read_text() for path in sorted((ROOT / "rules" / "kms-key-store").glob("*.yml"))
        )))
        self.assertEqual(
            told - set(stack.properties("FastPathRule")["EventPattern"]["detail"]["$or"][1]["eventName"]), set()
        )
        self.assertEqual(stack.properties("FastPathMayInvoke")["SourceArn"], RULE + "cloudhsm-alerts-fast-path")
        self.assertEqual(as_list(stack.resources["FastPathRule"]["DependsOn"]), ["FastPathMayInvoke", "FailureQueuePolicy"])

    def test_own_rules_are_read_and_nothing_beside_them(self):
        stack = stack_of(RulesBucket="our-rules", RulesPrefix="hsm/")
        self.assertEqual(stack.variables()["RULES_URI"], "s3://our-rules/hsm/")
        statements = stack.statements("FunctionRole")
        self.assertEqual(statements["ReadOwnRules"]["Resource"], "arn:aws:s3:::our-rules/hsm/*")
        for owner, parameters in ((ACCOUNT, {}), (OTHER, {"RulesBucketOwner": OTHER})):
            statements = stack_of(RulesBucket="our-rules", RulesPrefix="hsm/", **parameters).statements("FunctionRole")
            account = {"StringEquals": {"aws:ResourceAccount": owner}}
            self.assertEqual(statements["ReadOwnRules"]["Condition"], account)
            self.assertEqual(statements["ListOwnRules"]["Condition"], {**account, "StringLike": {"s3:prefix": "hsm/*"}})
        self.assertEqual(stack_of().variables()["RULES_URI"], "")

    def test_records_are_taken_from_a_queue_only_where_that_is_asked_for(self):
        for source, expected in (("a new trail", ""), ("a queue", ""), ("a trusted queue", QUEUE)):
            self.assertEqual(stack_of(**SOURCES[source]).variables()["TRUSTED_QUEUES"], expected, source)

    def test_the_backfills_role_invokes_the_function_and_no_more(self):
        self.assertNotIn("BackfillRole", stack_of().resources)
        stack = stack_of(Backfill="on")
        self.assertEqual(
            {sid: (statement["Action"], statement["Resource"]) for sid, statement in stack.statements("BackfillRole").items()},
            {
                "InvokeFunction": ("lambda:InvokeFunction", FUNCTION_ARN),
                "ReadManifest": (
                    ["s3:GetObject", "s3:GetObjectVersion"],
                    ["arn:aws:s3:::BackfillBucket/manifests/*", "arn:aws:s3:::BackfillBucket/inventories/*"],
                ),
                "WriteReport": ("s3:PutObject", "arn:aws:s3:::BackfillBucket/reports/*"),
            },
        )
        trust, = stack.properties("BackfillRole")["AssumeRolePolicyDocument"]["Statement"]
        self.assertEqual(trust["Principal"], {"Service": "batchoperations.s3.amazonaws.com"})
        self.assertEqual(trust["Condition"], {"StringEquals": {"aws:SourceAccount": ACCOUNT}})

    def test_only_the_trails_bucket_may_put_its_inventory(self):
        for name, bucket, owner in (
            ("a new trail", "cloudhsm-alerts-trail-" + ACCOUNT, ACCOUNT),
            ("another account's bucket, encrypted", "central-logs", OTHER),
        ):
            stack = stack_of(Backfill="on", **SOURCES[name])
            statement, _tls = stack.properties("BackfillBucketPolicy")["PolicyDocument"]["Statement"]
            self.assertEqual(statement, {
                "Sid": "InventoryOfTrailBucket", "Effect": "Allow", "Principal": {"Service": "s3.amazonaws.com"},
                "Action": "s3:PutObject", "Resource": "arn:aws:s3:::BackfillBucket/inventories/*",
                "Condition": {
                    "StringEquals": {"aws:SourceAccount": owner, "s3:x-amz-acl": "bucket-owner-full-control"},
                    "ArnEquals": {"aws:SourceArn": "arn:aws:s3:::" + bucket},
                },
            })

    def watched(self, **parameters):
        return [pair.split("=", 1) for pair in stack_of(**parameters).variables()["WATCHED"].split(",")]

    def test_the_function_knows_what_to_watch(self):
        common = [
            ["alert_topic", "arn:aws:sns:us-west-2:{}:AlertTopic".format(ACCOUNT)],
            ["alert_topic", "arn:aws:sns:us-west-2:{}:OperatorsTopic".format(ACCOUNT)],
            ["function", "cloudhsm-alerts"],
            ["function_role", "FunctionRole"],
            ["ledger_table", "Ledger"],
            ["failure_queue", "FailureQueue"],
            ["log_group", "FunctionLogs"],
            ["stack", "cloudhsm-alerts"],
            ["alarm", "cloudhsm-alerts"],
            ["source_rule", "cloudhsm-alerts-tamper-in"],
            ["source_rule", "cloudhsm-alerts-tamper-run"],
            ["source_rule", "cloudhsm-alerts-tamper-out"],
            ["source_rule", "cloudhsm-alerts-tamper-alarm"],
            ["source_rule", "cloudhsm-alerts-tamper-base"],
        ]
        key = ["key", stack_of().reference("OperatorsTopicKey")]
        self.assertEqual(self.watched(), [["trail_bucket", "cloudhsm-alerts-trail-" + ACCOUNT]] + common + [key])
        for name, more in {
            "a bucket": [["source_rule", "cloudhsm-alerts-log-files"], key],
            "a topic": [["source_topic", TOPIC], key],
            "an encrypted queue": [["source_queue", "log-files"], key, ["key", KEY.partition("/")[2]]],
        }.items():
            with self.subTest(name):
                self.assertEqual(self.watched(**SOURCES[name]), [["trail_bucket", "central-logs"]] + common + more)
        self.assertEqual(
            self.watched(FastPath="on", RulesBucket="our-rules", RulesKmsKeyArn=KEY)[len(common) + 1:],
            [["source_rule", "cloudhsm-alerts-fast-path"], ["rules_bucket", "our-rules"], key, ["key", KEY.partition("/")[2]]],
        )

    def test_every_key_that_is_given_is_watched(self):
        keys = {
            name: KEY[:-12] + "{:012}".format(number)
            for number, name in enumerate(("TrailKmsKeyArn", "AlertTopicKmsKeyArn", "ExistingQueueKmsKeyArn", "RulesKmsKeyArn"))
        }
        watched = self.watched(**{**SOURCES["an encrypted queue"], "RulesBucket": "our-rules", **keys})
        self.assertEqual(
            [name for kind, name in watched if kind == "key"][1:], [arn.partition("/")[2] for arn in keys.values()]
        )

    def test_the_functions_variables_fit(self):
        # Lambda takes 4 KB. Names that CloudFormation makes up are longer than those here.
        for name, parameters in combinations():
            variables = stack_of(**parameters, stack="s" * LONGEST).variables()
            self.assertLess(sum(len(key) + len(str(value)) for key, value in variables.items()), 3000, name)

    def test_failing_messages_are_seen_while_they_are_tried_again(self):
        self.assertNotIn("PartialFailuresAlarm", stack_of().resources)
        self.assertIn("PartialFailuresAlarm", stack_of(RedriveFailures="on").resources)
        self.assertIn("PartialFailuresAlarm", stack_of(**SOURCES["a queue"]).resources)
        held, *counted = stack_of().properties("FailureQueueAlarm")["Metrics"]
        self.assertEqual(held["Expression"], " + ".join(metric["Id"] for metric in counted))
        self.assertEqual(
            [metric["MetricStat"]["Metric"]["MetricName"] for metric in counted],
            ["ApproximateNumberOfMessagesVisible", "ApproximateNumberOfMessagesNotVisible"],
        )
        age, queue = stack_of().properties("FailureQueueAgeAlarm"), stack_of().properties("FailureQueue")
        self.assertLess(age["Threshold"], queue["MessageRetentionPeriod"] - 3 * 86400)

    def test_what_the_function_is_called_for_without_waiting_has_its_alarms(self):
        for parameters, is_there in (
            ({}, True), (SOURCES["a queue"], False), (dict(SOURCES["a queue"], FastPath="on"), True),
        ):
            resources = stack_of(**parameters).resources
            for alarm in ("EventAgeAlarm", "EventsDroppedAlarm", "DestinationAlarm"):
                self.assertEqual(alarm in resources, is_there, (alarm, parameters))

    def test_every_rule_with_a_dead_letter_queue_is_watched_for_losing_even_that(self):
        for name, parameters in combinations():
            with self.subTest(name):
                stack = stack_of(**parameters)
                rules = {rule["Properties"]["Name"] for rule in stack.of_type("AWS::Events::Rule").values()}
                lost, *counted = stack.properties("DeadLettersAlarm")["Metrics"]
                self.assertEqual(lost["Expression"], "SUM(METRICS())")
                self.assertEqual({
                    dimension["Value"] for metric in counted
                    for dimension in metric["MetricStat"]["Metric"]["Dimensions"] if dimension["Name"] == "RuleName"
                }, rules)

    def test_the_heartbeat_counts_silence_as_trouble(self):
        alarm = stack_of(HeartbeatMinutes=90).properties("HeartbeatAlarm")
        self.assertEqual(
            {key: alarm[key] for key in ("Namespace", "MetricName", "Statistic", "Period", "EvaluationPeriods", "Threshold", "ComparisonOperator", "TreatMissingData")},
            {
                "Namespace": "CloudHsmAlerts", "MetricName": "LiveObjects", "Statistic": "Sum", "Period": 60, "EvaluationPeriods": "90",
                "Threshold": 1, "ComparisonOperator": "LessThanThreshold", "TreatMissingData": "breaching",
            },
        )
        self.assertNotIn("HeartbeatAlarm", stack_of(HeartbeatMinutes=0).resources)

    def test_the_dashboard_is_json_and_names_what_exists(self):
        for name, parameters in combinations():
            with self.subTest(name):
                widgets = json.loads(stack_of(**parameters).properties("Dashboard")["DashboardBody"])["widgets"]
                self.assertEqual(len(widgets), 6)

    def test_metrics_of_alarms_and_dashboard_are_the_functions_own(self):
        emitted = emitted_metrics()
        stack = stack_of()
        alarms = {
            resource["Properties"]["MetricName"]
            for resource in stack.of_type("AWS::CloudWatch::Alarm").values()
            if resource["Properties"].get("Namespace") == "CloudHsmAlerts"
        }
        self.assertEqual(alarms - emitted, set())
        shown, namespace, name = set(), None, None
        for widget in json.loads(stack.properties("Dashboard")["DashboardBody"])["widgets"]:
            for metric in widget["properties"]["metrics"]:
                if metric[0] != "...":
                    namespace, name = (before if now == "." else now for now, before in zip(metric, (namespace, name)))
                if namespace == "CloudHsmAlerts":
                    shown.add(name)
        self.assertEqual(shown - emitted, set())


class Costs(unittest.TestCase):
    """docs/operations.md, "What it costs": every sum worked out again."""

    FILES = (730, 73_000, 7_300_000)

    def rows(self):
        text = (ROOT / "docs" / "operations.md").read_text()
        table = text.partition("## What it costs")[2]
        rows = {}
        for line in table.splitlines():
            cells = [cell.strip(" *") for cell in line.strip("|").split("|")]
            if len(cells) == 5 and re.fullmatch(r"[\d.,]+", cells[2]):
                rows[cells[0].partition(" (")[0]] = [float(cell.replace(",", "")) for cell in cells[2:]]
        return rows

    def test_the_table_is_what_its_sums_say(self):
        traces = lambda files: min(files, 730 * 3600) + 0.05 * max(0, files - 730 * 3600)
        alarms = alarm_metrics(stack_of())
        existing = {
            "Lambda, requests": lambda files: files * 0.20 / 1e6,
            "Lambda, time": lambda files: files * 0.1 * 0.25 * 0.0000166667,
            "S3, reading": lambda files: files * 0.0004 / 1e3,
            "the function's log, written": lambda files: files * 3e3 * 0.50 / 1e9,
            "the function's log, kept for 12 months": lambda files: files * 3e3 * 12 * 0.03 / 1e9,
            "X-Ray": lambda files: traces(files) * 5 / 1e6,
            "custom metrics": lambda files: len(emitted_metrics()) * 0.30,
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
        expected = {
            name: [work(files) for files in self.FILES] for name, work in {**existing, **new, **apart}.items()
        }
        total = lambda names: [sum(column) for column in zip(*(expected[name] for name in names))]
        expected["with an existing trail"] = total(list(existing))
        expected["with a new trail, the account's second"] = total(list(existing) + list(new))
        rows = self.rows()
        text = (ROOT / "docs" / "operations.md").read_text()
        self.assertIn("| {} × 0.30 |".format(len(emitted_metrics())), text)
        self.assertIn("| {} × 0.10 |".format(alarms), text)
        self.assertEqual(set(rows), set(expected))
        for name, values in expected.items():
            with self.subTest(name):
                self.assertEqual(rows[name], [round(value + 1e-9, 2) for value in values])


class Chat(unittest.TestCase):
    ALERTS = "arn:aws:sns:us-west-2:{}:AlertTopic".format(ACCOUNT)
    GIVEN = {"AlertTopicArn": ALERTS, "OperatorsTopicArn": ALERTS.replace("Alert", "Operators")}
    SLACK = {"SlackWorkspaceId": "T0123ABCDEF", "SlackChannelId": "C0123ABCDEF"}
    TEAMS = {
        "TeamsTeamId": "0f4a7c31-58d2-4b6e-9a13-c2d7e8f90a1b", "TeamsTenantId": "1f4a7c31-58d2-4b6e-9a13-c2d7e8f90a1b",
        "TeamsChannelId": "19%3Aab%40thread.tacv2",
    }

    def stack(self, **parameters):
        return Expanded("chat.yaml", stack="cloudhsm-alerts-chat", **self.GIVEN, **parameters)

    def test_channels_show_the_chat_topic_and_may_do_nothing(self):
        stack = self.stack(**self.SLACK, **self.TEAMS)
        self.assertEqual(circle(stack.dependencies()), [])
        for name in ("SlackChannel", "TeamsChannel"):
            channel = stack.properties(name)
            self.assertEqual(channel["SnsTopicArns"], [stack.outputs["ChatTopicArn"]])
            self.assertEqual(channel["GuardrailPolicies"], ["arn:aws:iam::aws:policy/AWSDenyAll"])
        self.assertEqual(set(stack.properties("ChannelRole")), {"AssumeRolePolicyDocument", "Description"})
        boundary = "arn:aws:iam::{}:policy/boundary".format(ACCOUNT)
        bounded = self.stack(PermissionsBoundaryArn=boundary, **self.SLACK)
        self.assertEqual({role["Properties"].get("PermissionsBoundary") for role in bounded.of_type("AWS::IAM::Role").values()}, {boundary})
        self.assertNotIn("TeamsChannel", self.stack(**self.SLACK).resources)
        self.assertNotIn("SlackChannel", self.stack(**self.TEAMS).resources)

    def test_the_chat_function_gets_alerts_and_publishes_to_its_topic_alone(self):
        stack = self.stack(MinSeverity="high", **self.SLACK)
        subscription = stack.properties("AlertSubscription")
        self.assertEqual(subscription["TopicArn"], self.ALERTS)
        self.assertEqual(subscription["FilterPolicy"], {"severity": ["high", "critical"]})
        self.assertEqual(stack.properties("AlertTopicMayInvoke")["SourceArn"], self.ALERTS)
        # What SNS cannot hand over waits beside what the function could not do.
        queue = "arn:aws:sqs:us-west-2:{}:ChatFailureQueue".format(ACCOUNT)
        self.assertEqual(subscription["RedrivePolicy"], {"deadLetterTargetArn": queue})
        self.assertEqual(as_list(stack.resources["AlertSubscription"]["DependsOn"]), ["AlertTopicMayInvoke", "ChatFailureQueuePolicy"])
        failures, tls = stack.properties("ChatFailureQueuePolicy")["PolicyDocument"]["Statement"]
        self.assertEqual(failures, {
            "Sid": "AlertTopicFailures", "Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"},
            "Action": "sqs:SendMessage", "Resource": queue, "Condition": {"ArnEquals": {"aws:SourceArn": self.ALERTS}},
        })
        self.assertEqual((tls["Effect"], tls["Condition"]), ("Deny", {"Bool": {"aws:SecureTransport": "false"}}))
        function = stack.properties("ChatFunction")
        self.assertEqual(function["Environment"]["Variables"], {"CHAT_TOPIC_ARN": stack.outputs["ChatTopicArn"]})
        self.assertEqual(
            {sid: (statement["Action"], statement["Resource"]) for sid, statement in stack.statements("ChatFunctionRole").items()},
            {
                "PublishToChannels": ("sns:Publish", stack.outputs["ChatTopicArn"]),
                "SendFailures": ("sqs:SendMessage", "arn:aws:sqs:us-west-2:{}:ChatFailureQueue".format(ACCOUNT)),
                "WriteLog": (
                    ["logs:CreateLogStream", "logs:PutLogEvents"],
                    "arn:aws:logs:us-west-2:{}:log-group:ChatFunctionLogs:*".format(ACCOUNT),
                ),
            },
        )

    def test_the_operators_topic_lets_its_alarm_publish(self):
        alarm = self.stack(**self.SLACK).properties("ChatFailureAlarm")["AlarmName"]
        statement, = [
            statement for statement in stack_of().properties("OperatorsTopicPolicy")["PolicyDocument"]["Statement"]
            if statement["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
        ]
        pattern = statement["Condition"]["ArnLike"]["aws:SourceArn"].rpartition(":")[2]
        self.assertTrue(alarm.startswith(pattern.rstrip("*")), (alarm, pattern))
        self.assertIn("\n### chat\n", (ROOT / "docs" / "operations.md").read_text())

    def test_half_a_channel_is_refused(self):
        for parameters, reason in [
            ({}, "name a Slack channel"),
            ({"SlackChannelId": "C0123ABCDEF"}, "Slack needs both"),
            (dict(self.SLACK, TeamsTeamId=self.TEAMS["TeamsTeamId"]), "Teams needs"),
        ]:
            with self.subTest(parameters), self.assertRaises(Refused) as refused:
                self.stack(**parameters)
            self.assertIn(reason, str(refused.exception))


class Parameters(unittest.TestCase):
    def refused(self, **parameters):
        with self.assertRaises(Refused) as refused:
            Expanded(**{"AlertEmail": "a@example.com", **parameters})
        return str(refused.exception)

    def test_combinations_that_cannot_work_are_refused_with_the_reason(self):
        cases = [
            ({"TrailSource": "ExistingBucketEventBridge"}, "needs ExistingBucketName"),
            ({"TrailSource": "ExistingTopic", "ExistingBucketName": "central-logs"}, "needs ExistingTopicArn"),
            ({"TrailSource": "ExistingTopic", "ExistingTopicArn": TOPIC}, "needs ExistingBucketName"),
            ({"TrailSource": "ExistingQueue", "ExistingBucketName": "central-logs"}, "needs ExistingQueueArn"),
            ({"TrailSource": "ExistingQueue", "ExistingQueueArn": QUEUE}, "needs ExistingBucketName"),
            ({"ExistingBucketName": "central-logs"}, "choose TrailSource"),
            (dict(SOURCES["a topic"], TrustQueueRecords="on"), "TrustQueueRecords applies to ExistingQueueArn"),
            ({"LogFilePrefix": "trails/"}, "LogFilePrefix is for the existing sources"),
            ({"BucketOwnerAccount": OTHER}, "BucketOwnerAccount is for the existing sources"),
            ({"ManagementAccountId": OTHER}, "ManagementAccountId needs OrganizationId"),
            (dict(SOURCES["a bucket"], OrganizationId="o-exampleorgid"), "OrganizationId is for NewTrail"),
            ({"AlertEmail": ""}, "Alerts would have no recipient: set AlertEmail, AlertPhoneNumber or AlertTopicArn"),
            ({"AlertEmail": "", "OperatorsEmail": "ops@example.com"}, "Alerts would have no recipient"),
            ({"AlertEmail": "", "AlertPhoneNumber": "+12065550100"}, "Alarms would have no recipient"),
            ({"SecondAlertEmail": "a@example.com"}, "SecondAlertEmail is the same as AlertEmail"),
            ({"ThirdAlertEmail": "a@example.com"}, "ThirdAlertEmail is the same as AlertEmail"),
            ({"SecondAlertEmail": "b@example.com", "ThirdAlertEmail": "b@example.com"}, "the same as SecondAlertEmail"),
            (
                {"AlertPhoneNumber": "+12065550100", "SecondAlertPhoneNumber": "+12065550100"},
                "SecondAlertPhoneNumber is the same as AlertPhoneNumber",
            ),
        ]
        for parameters, reason in cases:
            with self.subTest(parameters):
                self.assertIn(reason, self.refused(**parameters))

    def test_values_that_cannot_be_meant_are_refused(self):
        for name, values in {
            "AlertEmail": ["oncall", "a@b", "a b@example.com"],
            "AlertPhoneNumber": ["2065550100", "+0206", "+1 206 555 0100"],
            "AccountNames": ["prod=111122223333", "111122223333=a,b"],
            "LogFilePrefix": ["trails", "a*/", "${x}/"],
            "ExistingTopicArn": ["log-files", TOPIC + ".fifo"],
            "ExistingQueueArn": [QUEUE + ".fifo"],
            "TrailKmsKeyArn": ["alias/logs", KEY.replace("key/", "alias/")],
            "RulesPrefix": ["", "rules", "*/"],
            "TrailBucketPrefix": ["x" * 51, "Upper", "-a-"],
        }.items():
            for value in values:
                with self.subTest(name, value=value):
                    self.assertIn(name, self.refused(**{name: value}))

    def test_there_is_one_version(self):
        metadata = source("template.yaml")["Metadata"]["AWS::ServerlessRepo::Application"]
        version = re.search(r'^version = "(.+)"$', (ROOT / "Cargo.toml").read_text(), re.MULTILINE).group(1)
        self.assertEqual(metadata["SemanticVersion"], version)

    def test_every_parameter_is_shown_labelled_and_used(self):
        template = source("template.yaml")
        interface = template["Metadata"]["AWS::CloudFormation::Interface"]
        grouped = [name for group in interface["ParameterGroups"] for name in group["Parameters"]]
        self.assertEqual(sorted(grouped), sorted(template["Parameters"]))
        self.assertEqual(sorted(interface["ParameterLabels"]), sorted(template["Parameters"]))
        for name, parameter in template["Parameters"].items():
            self.assertIn("Default", parameter, "{}: a newcomer need not know it".format(name))
            # A colon and quotes are awkward in the console's forms; 4,000 is CloudFormation's limit.
            self.assertLess(len(parameter["Description"]), 400, name)


def split_arn(arn):
    _, _, service, region, account, rest = arn.split(":", 5)
    return service, region, account, rest


def circle(graph):
    """Names that wait for each other, or none."""
    graph = {name: set(after) for name, after in graph.items()}
    while graph:
        free = {name for name, after in graph.items() if not after}
        if not free:
            return sorted(graph)
        graph = {name: after - free for name, after in graph.items() if name not in free}
    return []


def alarm_metrics(stack):
    """What CloudWatch bills alarms by: an alarm on an expression counts for each metric in it."""
    return sum(
        len([metric for metric in alarm["Properties"].get("Metrics", [{"MetricStat": {}}]) if "MetricStat" in metric])
        for alarm in stack.of_type("AWS::CloudWatch::Alarm").values()
    )


def emitted_metrics():
    """The names with their units in the function's list of metrics."""
    text = (ROOT / "src" / "metrics.rs").read_text()
    return set(re.findall(r'\("([A-Z][A-Za-z]+)", "(?:Count|Bytes|Milliseconds)"', text))


if __name__ == "__main__":
    unittest.main()
