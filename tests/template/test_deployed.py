"""The template deployed into an emulator, once for every source of log files: a log file
is put where CloudTrail would put it, and the alerts come out of the stack's own wiring.

The function is the real program. What the emulator leaves out (IAM, KMS, the trail, retries,
dead letters of SNS and EventBridge) is asserted on the expanded template instead.
"""

import gzip
import json
import sys
import tempfile
import time
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / "scripts"))

from emulator import Emulator
from run import ACCOUNT, EMAIL, PHONE, REGION, SAMPLE, SAMPLE_NAME, build
from stack import deploy, received, upload
from tools import ensure

FOLDER = "AWSLogs/{}/CloudTrail/{}/2026/11/23/".format(ACCOUNT, REGION)
LOG_FILE = gzip.compress(SAMPLE.read_bytes(), mtime=0)

# What the calls of the sample come to: severity, call, outcome.
ALERTS = [
    "critical DeleteBackup denied",
    "critical DeleteBackup success",
    "critical InitializeCluster success",
    "high ModifyCluster failed",
    "medium CreateHsm success",
]
CRITICAL = [alert for alert in ALERTS if alert.startswith("critical")]

PATIENCE = 120


class Deployed(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        program = build()
        cls.environment = ensure("ministack")
        # Under target/, because the function is run from there: /tmp may forbid that.
        folder = tempfile.TemporaryDirectory(prefix="template-", dir=str(ROOT / "target"))
        cls.addClassCleanup(folder.cleanup)
        work = Path(folder.name)
        cls.emulator = cls.enterClassContext(Emulator(cls.environment, work, ACCOUNT, REGION))
        cls.code = upload(cls.emulator, program, work)

    def deploy(self, stack, **parameters):
        outputs = deploy(self.emulator, self.environment, self.code, stack, dict(parameters, MinSeverity="low"))
        self.outputs = outputs
        return outputs

    def summaries(self, queue_url):
        """What a subscriber got, as `severity EventName outcome`, sorted."""
        found = []
        for body in self.emulator.messages(queue_url):
            attributes = json.loads(body)["MessageAttributes"]
            found.append(" ".join(attributes[name]["Value"] for name in ("severity", "event_name", "outcome")))
        return sorted(found)

    def wait(self, what, is_there):
        deadline = time.monotonic() + PATIENCE
        while not is_there():
            if time.monotonic() > deadline or not self.emulator.alive():
                log = self.emulator.log_lines(self.outputs["FunctionLogGroup"])
                self.fail("{} did not come; the function's log:\n{}\n{}".format(
                    what, "\n".join(log[-20:]), self.emulator.log_tail()))
            time.sleep(0.05)

    def assert_alerts(self, expected=ALERTS):
        machine = self.outputs["MachineQueueUrl"]
        self.wait("the alerts", lambda: len(self.summaries(machine)) >= len(expected))
        self.assertEqual(self.summaries(machine), expected)

    def finding_object(self):
        """The object that the alerts say they came from."""
        messages = received(self.emulator, self.outputs["MachineQueueUrl"]).values()
        return {json.loads(message)["unmapped"]["object"].partition("?")[0] for message in messages}

    def s3_bucket(self, name, notification):
        self.emulator.create_bucket(name)
        body = "<NotificationConfiguration>{}</NotificationConfiguration>".format(notification)
        self.emulator.request("s3", "PUT", "/{}?notification".format(name), body.encode())

    def create_topic(self, name):
        answer = self.emulator.query("sns", "2010-03-31", "CreateTopic", Name=name)
        return next(answer.iter("TopicArn")).text

    def create_queue(self, name):
        answer = self.emulator.query("sqs", "2012-11-05", "CreateQueue", QueueName=name)
        url = next(answer.iter("QueueUrl")).text
        return url, "arn:aws:sqs:{}:{}:{}".format(REGION, ACCOUNT, name)

    def send(self, queue_url, message):
        self.emulator.query("sqs", "2012-11-05", "SendMessage", QueueUrl=queue_url, MessageBody=json.dumps(message))

    def test_a_new_trails_bucket_notifies_the_function(self):
        outputs = self.deploy("new-trail", AlertEmail=EMAIL, AlertPhoneNumber=PHONE)
        self.assertEqual(outputs["TrailBucketName"], "cloudhsm-alerts-trail-" + ACCOUNT)
        self.emulator.put_object(outputs["TrailBucketName"], FOLDER + SAMPLE_NAME, LOG_FILE)
        self.assert_alerts()
        self.assertEqual(self.finding_object(), {"s3://{}/{}{}".format(outputs["TrailBucketName"], FOLDER, SAMPLE_NAME)})
        self.assertEqual(self.summaries(outputs["EmailQueueUrl"]), ALERTS)
        self.assertEqual(self.summaries(outputs["SmsQueueUrl"]), CRITICAL)
        self.assertEqual(self.emulator.messages(outputs["FailureQueueUrl"]), [])

    def test_a_log_file_that_cannot_be_read_waits_in_the_failure_queue(self):
        outputs = self.deploy("damaged", TrailBucketPrefix="damaged-trail", AlertEmail=EMAIL)
        self.emulator.put_object(outputs["TrailBucketName"], FOLDER + SAMPLE_NAME, LOG_FILE[:-20])
        self.wait("the failure", lambda: self.emulator.messages(outputs["FailureQueueUrl"]))
        failure, = map(json.loads, self.emulator.messages(outputs["FailureQueueUrl"]))
        record, = failure["requestPayload"]["Records"]
        self.assertEqual(record["s3"]["bucket"]["name"], outputs["TrailBucketName"])
        self.assertEqual(failure["responsePayload"]["errorType"], "LogFile.Truncated")

    def test_severities_choose_who_is_told_what(self):
        outputs = self.deploy(
            "severities", TrailBucketPrefix="severities-trail",
            AlertEmail=EMAIL, EmailMinSeverity="high", AlertPhoneNumber=PHONE, SmsMinSeverity="medium",
        )
        self.emulator.put_object(outputs["TrailBucketName"], FOLDER + SAMPLE_NAME, LOG_FILE)
        self.assert_alerts()
        self.assertEqual(self.summaries(outputs["EmailQueueUrl"]), CRITICAL + ["high ModifyCluster failed"])
        self.assertEqual(self.summaries(outputs["SmsQueueUrl"]), ALERTS)

    def test_an_existing_buckets_events_reach_the_function(self):
        self.s3_bucket("central-logs", "<EventBridgeConfiguration/>")
        outputs = self.deploy(
            "event-bridge", TrailSource="ExistingBucketEventBridge", ExistingBucketName="central-logs", LogFilePrefix="trails/",
            AlertEmail=EMAIL,
        )
        # Neither is a log file of the trail's; the rule lets none of them through.
        self.emulator.put_object("central-logs", FOLDER + SAMPLE_NAME, LOG_FILE)
        self.emulator.put_object("central-logs", "trails/" + FOLDER.replace("/CloudTrail/", "/CloudTrail-Digest/") + "x.json.gz", b"{}")
        self.emulator.put_object("central-logs", "trails/" + FOLDER + SAMPLE_NAME, LOG_FILE)
        self.assert_alerts()
        self.assertEqual(self.finding_object(), {"s3://central-logs/trails/" + FOLDER + SAMPLE_NAME})
        # The emulator writes an invocation's log when it has ended, which is after the alerts.
        def ends():
            log = self.emulator.log_lines(outputs["FunctionLogGroup"])
            return sum(line.startswith("END RequestId") for line in log)
        self.wait("the end of the invocation", ends)
        self.assertEqual(ends(), 1)

    def test_an_existing_topic_of_s3s_reaches_the_function(self):
        topic = self.create_topic("log-files")
        self.s3_bucket("topic-logs", (
            "<TopicConfiguration><Topic>{}</Topic><Event>s3:ObjectCreated:*</Event></TopicConfiguration>"
        ).format(topic))
        self.deploy(
            "topic", TrailSource="ExistingTopic", ExistingTopicArn=topic, ExistingBucketName="topic-logs", AlertEmail=EMAIL
        )
        self.emulator.put_object("topic-logs", FOLDER + SAMPLE_NAME, LOG_FILE)
        self.assert_alerts()

    def test_an_existing_topic_of_cloudtrails_own_reaches_the_function(self):
        topic = self.create_topic("cloudtrail-own")
        self.emulator.create_bucket("own-logs")
        self.emulator.put_object("own-logs", FOLDER + SAMPLE_NAME, LOG_FILE)
        self.deploy(
            "own-topic", TrailSource="ExistingTopic", ExistingTopicArn=topic, ExistingBucketName="own-logs", AlertEmail=EMAIL
        )
        message = json.dumps({"s3Bucket": "own-logs", "s3ObjectKey": [FOLDER + SAMPLE_NAME]})
        self.emulator.query("sns", "2010-03-31", "Publish", TopicArn=topic, Message=message)
        self.assert_alerts()

    def test_an_existing_queue_reaches_the_function(self):
        url, arn = self.create_queue("log-files")
        self.s3_bucket("queue-logs", (
            "<QueueConfiguration><Queue>{}</Queue><Event>s3:ObjectCreated:*</Event></QueueConfiguration>"
        ).format(arn))
        self.deploy(
            "queue", TrailSource="ExistingQueue", ExistingQueueArn=arn, ExistingBucketName="queue-logs", AlertEmail=EMAIL
        )
        self.emulator.put_object("queue-logs", FOLDER + SAMPLE_NAME, LOG_FILE)
        self.assert_alerts()
        self.wait("the end of the message", lambda: not self.emulator.messages(url))

    def test_an_existing_topic_for_the_alerts_gets_them(self):
        topic = self.create_topic("our-alerts")
        outputs = self.deploy("our-topic", TrailBucketPrefix="our-topic-trail", AlertTopicArn=topic, AlertEmail=EMAIL)
        self.assertEqual(outputs["AlertTopicArn"], topic)
        self.emulator.put_object(outputs["TrailBucketName"], FOLDER + SAMPLE_NAME, LOG_FILE)
        self.assert_alerts()
        self.assertEqual(self.summaries(outputs["EmailQueueUrl"]), ALERTS)

    def test_alerts_reach_the_topic_that_chat_channels_show(self):
        outputs = self.deploy("chatty", TrailBucketPrefix="chatty-trail", AlertEmail=EMAIL)
        chat = deploy(self.emulator, self.environment, self.code, "chatty-chat", {
            "AlertTopicArn": outputs["AlertTopicArn"], "OperatorsTopicArn": outputs["OperatorsTopicArn"],
            "SlackWorkspaceId": "T0123ABCDEF", "SlackChannelId": "C0123ABCDEF", "MinSeverity": "high",
        }, "chat.yaml")
        self.emulator.put_object(outputs["TrailBucketName"], FOLDER + SAMPLE_NAME, LOG_FILE)
        self.assert_alerts()
        self.wait("the chat messages", lambda: len(self.emulator.messages(chat["ChatQueueUrl"])) >= 4)
        shown = [json.loads(message) for message in received(self.emulator, chat["ChatQueueUrl"]).values()]
        self.assertEqual({message["source"] for message in shown}, {"custom"})
        self.assertEqual(
            sorted(message["content"]["title"].partition(":")[0] for message in shown), ["CRITICAL"] * 3 + ["HIGH"]
        )
        self.assertEqual(self.emulator.messages(chat["ChatFailureQueueUrl"]), [])

    def test_failures_given_back_are_told(self):
        url, arn = self.create_queue("unused")
        self.emulator.create_bucket("redriven-logs")
        self.emulator.put_object("redriven-logs", FOLDER + SAMPLE_NAME, LOG_FILE)
        outputs = self.deploy(
            "redrive", TrailSource="ExistingQueue", ExistingQueueArn=arn, ExistingBucketName="redriven-logs", RedriveFailures="on",
            AlertEmail=EMAIL,
        )
        failure = json.loads((ROOT / "events" / "destination.json").read_text())
        failure["requestPayload"]["Records"][0]["s3"]["bucket"]["name"] = "redriven-logs"
        self.send(outputs["FailureQueueUrl"], failure)
        self.assert_alerts()
        self.wait("the end of the failure", lambda: not self.emulator.messages(outputs["FailureQueueUrl"]))


if __name__ == "__main__":
    unittest.main()
