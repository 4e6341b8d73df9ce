"""`template.yaml` or `chat.yaml`, made ready for the emulator of `emulator.py` and deployed there.

A template stays what it is; only what the emulator cannot make is taken out, and
subscribers that can be read are put beside those that cannot. What is taken out is
named by is_not_emulated, and nothing else may be: a resource that the emulator does not
know makes the deployment fail, not shrink.
"""

import json
import zipfile

from package import pack
from processes import output_of
from tools import ROOT

CODE_BUCKET = "cloudhsm-alerts-code"

# The emulator's CloudFormation does not know these. Whoever deploys there delivers log
# files in CloudTrail's place; there is no second account whose events need a policy, and
# no chat program.
NOT_EMULATED = (
    "AWS::CloudTrail::Trail",
    "AWS::Events::EventBusPolicy",
    "AWS::Chatbot::SlackChannelConfiguration",
    "AWS::Chatbot::MicrosoftTeamsChannelConfiguration",
)


def upload(emulator, program, work):
    """The function's code, in a bucket of the emulator's; returns its address."""
    # Uncompressed: it is unpacked again a moment later.
    pack(program, work / "code.zip", zipfile.ZIP_STORED)
    emulator.create_bucket(CODE_BUCKET)
    emulator.put_object(CODE_BUCKET, "code.zip", (work / "code.zip").read_bytes())
    return "s3://{}/code.zip".format(CODE_BUCKET)


def deploy(emulator, environment, code, stack, parameters, name="template.yaml"):
    """Deploys a template with its parameters; returns the stack's outputs."""
    template = for_emulator(environment, code, name)
    # It is too large for a request, as it is on AWS.
    emulator.put_object(CODE_BUCKET, "template.json", json.dumps(template).encode())
    return emulator.create_stack(stack, "{}/{}/template.json".format(emulator.url, CODE_BUCKET), parameters)


def for_emulator(environment, code, name):
    """A template without what the emulator does not know, and with queues beside the
    subscribers that cannot be read: each gets what its e-mail or SMS subscription would get."""
    to_json = (
        "import json, sys; from samtranslator.yaml_helper import yaml_parse; "
        "json.dump(yaml_parse(sys.stdin), sys.stdout)"
    )
    with open(str(ROOT / name), "rb") as template_file:
        converted = output_of([environment / "bin" / "python", "-I", "-c", to_json], stdin=template_file)
    template = json.loads(converted)
    resources, outputs = template["Resources"], template["Outputs"]
    for name in [name for name, resource in resources.items() if is_not_emulated(resource)]:
        del resources[name]
        for output in [key for key, value in outputs.items() if mentions(value["Value"], name)]:
            del outputs[output]
    for resource in resources.values():
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"]["CodeUri"] = code
            # One attempt is enough to see a failure.
            resource["Properties"]["EventInvokeConfig"]["MaximumRetryAttempts"] = 0
    if "ChatTopic" in resources:
        add_queue(template, "ChatQueue", {"TopicArn": {"Ref": "ChatTopic"}}, None)
        return template
    for name in ("EmailSubscription", "SmsSubscription"):
        subscription = resources[name]
        add_queue(template, name.replace("Subscription", "Queue"), subscription["Properties"], subscription["Condition"])
    machine = {"TopicArn": resources["EmailSubscription"]["Properties"]["TopicArn"]}
    add_queue(template, "MachineQueue", machine, None)
    return template


def is_not_emulated(resource):
    """Besides whole types: alarms on an expression, which the emulator's CloudWatch refuses."""
    if resource["Type"] == "AWS::CloudWatch::Alarm":
        return "Metrics" in resource["Properties"]
    return resource["Type"] in NOT_EMULATED


def mentions(value, name):
    return '"{}"'.format(name) in json.dumps(value) or '"{}.'.format(name) in json.dumps(value)


def add_queue(template, name, subscription, condition):
    queue = {"Type": "AWS::SQS::Queue"}
    subscriber = {
        "Type": "AWS::SNS::Subscription",
        "Properties": dict(subscription, Protocol="sqs", Endpoint={"Fn::GetAtt": [name, "Arn"]}),
    }
    output = {"Value": {"Ref": name}}
    if condition is not None:
        for conditional in (queue, subscriber, output):
            conditional["Condition"] = condition
    template["Resources"][name] = queue
    template["Resources"][name + "Subscription"] = subscriber
    template["Outputs"][name + "Url"] = output


def received(emulator, queue_url):
    """What arrived in a queue from a topic: each message by its identifier."""
    envelopes = [json.loads(body) for body in emulator.messages(queue_url)]
    return {envelope["MessageId"]: envelope["Message"] for envelope in envelopes}
