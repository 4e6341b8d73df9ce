"""The template deployed into an emulator, once for every source of log files: a log file is put where CloudTrail
would put it, and the alerts come out of the stack's own wiring.

The function is the real program. What the emulator leaves out (IAM, KMS, the trail, retries, dead letters of SNS and
EventBridge) is asserted on the expanded template instead.
"""

import json
import sys
import tempfile
import time
import unittest
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

from emulator import ACCOUNT, EMAIL, FOLDER, LOG_FILE, PHONE, REGION, SAMPLE_KEY, build, emulator  # noqa: E402

# The alerts of the sample: severity, call, outcome.
CRITICAL = ["critical DeleteBackup denied", "critical DeleteBackup success", "critical InitializeCluster success"]
MEDIUM = ["medium CreateHsm success"]
ALERTS = [*CRITICAL, "low ModifyCluster failed", *MEDIUM]

PATIENCE = 120


class Deployed(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        program = build()
        # Under target/, because the function is run from there: /tmp may forbid that.
        work = cls.enterClassContext(
            tempfile.TemporaryDirectory(prefix="template-", dir=ROOT / "target", ignore_cleanup_errors=True)
        )
        cls.emulator = cls.enterClassContext(emulator(Path(work)))
        cls.emulator.upload(program)

    def deploy(self, stack: str, **parameters: str) -> dict[str, str]:
        self.outputs = self.emulator.deploy(stack, AlertEmail=EMAIL, MinSeverity="low", **parameters)
        return self.outputs

    def deploy_trail(self, stack: str, **parameters: str) -> dict[str, str]:
        return self.deploy(stack, TrailBucketPrefix=f"{stack}-trail", **parameters)

    def put(self, bucket: str, key: str = SAMPLE_KEY, body: bytes = LOG_FILE) -> None:
        self.emulator.put_object(bucket, key, body)

    def alerts(self, queue: str) -> list[str]:
        """What a subscriber got, as `severity EventName outcome`, sorted."""
        bodies = [json.loads(body)["MessageAttributes"] for body in self.emulator.messages(self.outputs[queue])]
        names = ("severity", "event_name", "outcome")
        return sorted(" ".join(attributes[name]["Value"] for name in names) for attributes in bodies)

    def wait(self, what: str, is_there: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not is_there():
            if time.monotonic() > deadline or self.emulator.process.poll() is not None:
                log = self.emulator.log_lines(self.outputs["FunctionLogGroup"])
                self.fail("\n".join([f"{what} did not come; the function's log:", *log[-20:]]))
            time.sleep(0.05)

    def assert_alerts(self) -> None:
        self.wait("the alerts", lambda: len(self.alerts("MachineQueueUrl")) >= len(ALERTS))
        self.assertEqual(self.alerts("MachineQueueUrl"), ALERTS)

    def assert_pages(self, alerts: list[str]) -> None:
        """The short texts that a phone got: an SMS begins with severity and event name."""
        url = self.outputs["SmsQueueUrl"]
        self.wait("the pages", lambda: len(self.emulator.messages(url)) >= len(alerts))
        pages = sorted(" ".join(text.split()[:2]).lower() for text in self.emulator.received(url).values())
        self.assertEqual(pages, sorted(" ".join(alert.split()[:2]).lower() for alert in alerts))

    def assert_object(self, url: str) -> None:
        """The object that the alerts name."""
        messages = self.emulator.received(self.outputs["MachineQueueUrl"]).values()
        self.assertEqual({json.loads(message)["unmapped"]["object"].partition("?")[0] for message in messages}, {url})

    def bucket(self, name: str, **notification: object) -> None:
        self.emulator.create_bucket(name)
        self.emulator.client("s3").put_bucket_notification_configuration(
            Bucket=name, NotificationConfiguration=notification
        )

    def topic(self, name: str) -> str:
        return self.emulator.client("sns").create_topic(Name=name)["TopicArn"]

    def test_a_new_trails_bucket_notifies_the_function(self) -> None:
        outputs = self.deploy("new-trail", AlertPhoneNumber=PHONE)
        bucket = outputs["TrailBucketName"]
        self.assertEqual(bucket, f"cloudhsm-alerts-trail-{ACCOUNT}-{REGION}")
        self.put(bucket)
        self.assert_alerts()
        self.assert_object(f"s3://{bucket}/{SAMPLE_KEY}")
        self.assertEqual(self.alerts("EmailQueueUrl"), ALERTS)
        self.assert_pages(CRITICAL)
        self.assertEqual(self.emulator.messages(outputs["FailureQueueUrl"]), [])

    def test_a_log_file_that_cannot_be_read_waits_in_the_failure_queue(self) -> None:
        outputs = self.deploy_trail("damaged")
        self.put(outputs["TrailBucketName"], body=LOG_FILE[:-20])
        self.wait("the failure", lambda: self.emulator.messages(outputs["FailureQueueUrl"]))
        (failure,) = map(json.loads, self.emulator.messages(outputs["FailureQueueUrl"]))
        (record,) = failure["requestPayload"]["Records"]
        self.assertEqual(record["s3"]["bucket"]["name"], outputs["TrailBucketName"])
        self.assertEqual(failure["responsePayload"]["errorType"], "LogFile.Truncated")

    def test_the_phone_gets_what_is_severe_enough(self) -> None:
        outputs = self.deploy_trail("paging", AlertPhoneNumber=PHONE, PagingMinSeverity="medium")
        self.put(outputs["TrailBucketName"])
        self.assert_alerts()
        self.assertEqual(self.alerts("EmailQueueUrl"), ALERTS)
        self.assert_pages(CRITICAL + MEDIUM)

    def test_an_existing_buckets_events_reach_the_function(self) -> None:
        self.bucket("central-logs", EventBridgeConfiguration={})
        source = {"TrailSource": "ExistingBucketEventBridge", "ExistingBucketName": "central-logs"}
        outputs = self.deploy("event-bridge", LogFilePrefix="trails/", **source)
        # Neither is a log file of the trail's; the rule lets none of them through.
        self.put("central-logs")
        self.put("central-logs", "trails/" + FOLDER.replace("/CloudTrail/", "/CloudTrail-Digest/") + "x.json.gz", b"{}")
        self.put("central-logs", "trails/" + SAMPLE_KEY)
        self.assert_alerts()
        self.assert_object(f"s3://central-logs/trails/{SAMPLE_KEY}")

        def ends() -> int:
            log = self.emulator.log_lines(outputs["FunctionLogGroup"])
            return sum(line.startswith("END RequestId") for line in log)

        # The emulator writes an invocation's log when it has ended, which is after the alerts.
        self.wait("the end of the invocation", ends)
        self.assertEqual(ends(), 1)

    def test_an_existing_topic_of_s3s_reaches_the_function(self) -> None:
        topic = self.topic("log-files")
        self.bucket("topic-logs", TopicConfigurations=[{"TopicArn": topic, "Events": ["s3:ObjectCreated:*"]}])
        self.deploy("topic", TrailSource="ExistingTopic", ExistingTopicArn=topic, ExistingBucketName="topic-logs")
        self.put("topic-logs")
        self.assert_alerts()

    def test_an_existing_topic_of_cloudtrails_own_reaches_the_function(self) -> None:
        topic = self.topic("cloudtrail-own")
        self.bucket("own-logs")
        self.put("own-logs")
        self.deploy("own-topic", TrailSource="ExistingTopic", ExistingTopicArn=topic, ExistingBucketName="own-logs")
        message = json.dumps({"s3Bucket": "own-logs", "s3ObjectKey": [SAMPLE_KEY]})
        self.emulator.client("sns").publish(TopicArn=topic, Message=message)
        self.assert_alerts()

    def test_an_existing_queue_reaches_the_function(self) -> None:
        url = self.emulator.client("sqs").create_queue(QueueName="log-files")["QueueUrl"]
        arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:log-files"
        self.bucket("queue-logs", QueueConfigurations=[{"QueueArn": arn, "Events": ["s3:ObjectCreated:*"]}])
        self.deploy("queue", TrailSource="ExistingQueue", ExistingQueueArn=arn, ExistingBucketName="queue-logs")
        self.put("queue-logs")
        self.assert_alerts()
        self.wait("the end of the message", lambda: not self.emulator.messages(url))

    def test_an_existing_topic_for_the_alerts_gets_them(self) -> None:
        topic = self.topic("our-alerts")
        outputs = self.deploy_trail("our-topic", AlertTopicArn=topic)
        self.assertEqual(outputs["AlertTopicArn"], topic)
        self.put(outputs["TrailBucketName"])
        self.assert_alerts()
        self.assertEqual(self.alerts("EmailQueueUrl"), ALERTS)

    def test_alerts_reach_the_topic_that_chat_channels_show(self) -> None:
        outputs = self.deploy_trail("chatty")
        topics = {name: outputs[name] for name in ("AlertTopicArn", "OperatorsTopicArn")}
        slack = {"SlackWorkspaceId": "T0123ABCDEF", "SlackChannelId": "C0123ABCDEF"}
        chat = self.emulator.deploy("chatty-chat", "chat.yaml", MinSeverity="medium", **topics, **slack)
        self.put(outputs["TrailBucketName"])
        self.assert_alerts()
        self.wait("the chat messages", lambda: len(self.emulator.messages(chat["ChatQueueUrl"])) >= 4)
        shown = [json.loads(message) for message in self.emulator.received(chat["ChatQueueUrl"]).values()]
        self.assertEqual({message["source"] for message in shown}, {"custom"})
        titles = sorted(message["content"]["title"].partition(":")[0] for message in shown)
        self.assertEqual(titles, ["CRITICAL"] * 3 + ["MEDIUM"])
        self.assertEqual(self.emulator.messages(chat["ChatFailureQueueUrl"]), [])

    def test_failures_are_processed_again(self) -> None:
        self.bucket("redriven-logs")
        self.put("redriven-logs")
        source = {"TrailSource": "ExistingBucketEventBridge", "ExistingBucketName": "redriven-logs"}
        outputs = self.deploy("redrive", **source)
        failures = outputs["FailureQueueUrl"]
        failure = json.loads((ROOT / "events" / "destination.json").read_text())
        failure["requestPayload"]["Records"][0]["s3"]["bucket"]["name"] = "redriven-logs"
        self.emulator.client("sqs").send_message(QueueUrl=failures, MessageBody=json.dumps(failure))
        # As docs/operations.md describes it.
        functions = self.emulator.client("lambda")
        options = {"BatchSize": 1, "FunctionResponseTypes": ["ReportBatchItemFailures"]}
        options |= {"EventSourceArn": outputs["FailureQueueArn"], "ScalingConfig": {"MaximumConcurrency": 2}}
        mapping = functions.create_event_source_mapping(FunctionName="redrive", **options)
        self.assert_alerts()
        self.wait("the end of the failure", lambda: not self.emulator.messages(failures))
        functions.delete_event_source_mapping(UUID=mapping["UUID"])

    def test_the_stacks_beside_it_use_its_exports(self) -> None:
        outputs = self.deploy_trail("guarded")
        self.emulator.deploy("guarded-guard", "guard.yaml", AlertsStack="guarded")
        events = self.emulator.client("events")
        rules = events.list_rules(NamePrefix="guarded-tamper-")["Rules"]
        self.assertEqual(len(rules), 9)
        for rule in rules:
            (target,) = events.list_targets_by_rule(Rule=rule["Name"])["Targets"]
            self.assertEqual(target["Arn"], outputs["OperatorsTopicArn"])
            self.assertEqual(target["DeadLetterConfig"]["Arn"], outputs["FailureQueueArn"])
        backfill = self.emulator.deploy("guarded-backfill", "backfill.yaml", AlertsStack="guarded")
        self.assertEqual(backfill["FunctionArn"], outputs["FunctionArn"])


if __name__ == "__main__":
    unittest.main()
