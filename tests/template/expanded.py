"""A stack as CloudFormation would make it: the template expanded by SAM's own translator,
its conditions decided and its functions worked out for one choice of parameters.

Values that only AWS knows are invented, but have the right form: a resource is called by
its logical name. What is not known here (a function, an attribute, a name that leads
nowhere) is an error, so that a typing mistake in the template cannot pass for a value.
CloudFormation's rules for parameters are kept: allowed values, patterns, and assertions.
"""

import copy
import functools
import json
import re
import zlib
from pathlib import Path

import boto3
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

ROOT = Path(__file__).resolve().parent.parent.parent
ACCOUNT = "111122223333"
STACK = "cloudhsm-alerts"

NO_VALUE = object()


class Refused(Exception):
    """CloudFormation would not take these parameters; says which sentence it would show."""


@functools.lru_cache(maxsize=None)
def source(name):
    return yaml_parse((ROOT / name).read_text())


@functools.lru_cache(maxsize=None)
def translated(name):
    """The template without SAM's own types. Parameters stay open: SAM gets none of them."""
    document = copy.deepcopy(source(name))
    for resource in document["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"]["CodeUri"] = "s3://code/code.zip"
    translator = Translator(
        managed_policy_map={}, sam_parser=Parser(), boto_session=boto3.Session(region_name="us-east-1")
    )
    return translator.translate(document, {})


class Expanded:
    """One stack. `resources` are those that exist, by logical name, with their values."""

    def __init__(self, name="template.yaml", partition="aws", region="us-west-2", stack=STACK, **parameters):
        self.template = translated(name)
        self.partition, self.region, self.stack = partition, region, stack
        self.parameters = self.checked(parameters)
        for rule_name, rule in self.template.get("Rules", {}).items():
            if self.truth(rule.get("RuleCondition", {"Fn::Equals": ["", ""]})):
                for assertion in rule["Assertions"]:
                    if not self.truth(assertion["Assert"]):
                        raise Refused(assertion["AssertDescription"])
        declared = self.template["Resources"]
        self.existing = {
            key
            for key, resource in declared.items()
            if "Condition" not in resource or self.condition(resource["Condition"])
        }
        self.resources = {key: self.value(declared[key]) for key in declared if key in self.existing}
        self.outputs = {
            key: self.value(output["Value"])
            for key, output in self.template["Outputs"].items()
            if "Condition" not in output or self.condition(output["Condition"])
        }

    def checked(self, given):
        values = {}
        for key, declared in self.template["Parameters"].items():
            value = given.pop(key, declared.get("Default"))
            if value is None:
                raise Refused("Parameters: [{}] must have values".format(key))
            text = str(value)
            if "AllowedValues" in declared and text not in [str(allowed) for allowed in declared["AllowedValues"]]:
                raise Refused("{}: {} is not allowed".format(key, text))
            if "AllowedPattern" in declared and not re.fullmatch(declared["AllowedPattern"], text):
                raise Refused("{}: {}".format(key, declared["ConstraintDescription"]))
            if "MinValue" in declared and not declared["MinValue"] <= float(text) <= declared["MaxValue"]:
                raise Refused("{}: {} is out of range".format(key, text))
            values[key] = text
        if given:
            raise Refused("no such parameter: {}".format(", ".join(given)))
        return values

    # -- conditions --

    def condition(self, name):
        return self.truth(self.template["Conditions"][name])

    def truth(self, expression):
        ((function, argument),) = expression.items()
        if function == "Condition":
            return self.condition(argument)
        if function == "Fn::Equals":
            left, right = (str(self.value(side)) for side in argument)
            return left == right
        if function == "Fn::Not":
            return not self.truth(argument[0])
        if function == "Fn::And":
            assert 2 <= len(argument) <= 10, argument
            return all([self.truth(part) for part in argument])
        if function == "Fn::Or":
            assert 2 <= len(argument) <= 10, argument
            return any([self.truth(part) for part in argument])
        raise AssertionError("not a condition: {}".format(expression))

    # -- values --

    def value(self, node):
        if isinstance(node, list):
            return [value for value in map(self.value, node) if value is not NO_VALUE]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            ((function, argument),) = node.items()
            if function == "Ref":
                return self.reference(argument)
            if function.startswith("Fn::"):
                return getattr(self, "fn_" + function[4:].lower())(argument)
        values = {key: self.value(value) for key, value in node.items()}
        return {key: value for key, value in values.items() if value is not NO_VALUE}

    def reference(self, name):
        pseudo = {
            "AWS::AccountId": ACCOUNT,
            "AWS::NoValue": NO_VALUE,
            "AWS::Partition": self.partition,
            "AWS::Region": self.region,
            "AWS::StackName": self.stack,
            "AWS::URLSuffix": "amazonaws.com.cn" if self.partition == "aws-cn" else "amazonaws.com",
        }
        if name in pseudo:
            return pseudo[name]
        if name in self.parameters:
            return self.parameters[name]
        kind, properties = self.target(name)
        if kind == "AWS::SNS::Topic":
            return self.arn("sns", self.made_up(name))
        if kind == "AWS::SNS::Subscription":
            return self.value(properties["TopicArn"]) + ":5be8f5b0-1b4a-4d0c-9a57-000000000001"
        if kind == "AWS::KMS::Key":
            return "7d1c4b90-2e5f-4a68-b3d7-{:012x}".format(zlib.crc32(name.encode()))
        if kind == "AWS::SQS::Queue":
            return "https://sqs.{}/{}/{}".format(self.region, ACCOUNT, self.made_up(name))
        return self.value(
            properties.get(
                {
                    "AWS::Lambda::Function": "FunctionName",
                    "AWS::S3::Bucket": "BucketName",
                    "AWS::Events::EventBus": "Name",
                    "AWS::Events::Rule": "Name",
                    "AWS::CloudWatch::Dashboard": "DashboardName",
                }.get(kind, ""),
                self.made_up(name),
            )
        )

    def made_up(self, name):
        """What CloudFormation calls a resource that the template gives no name."""
        return name

    def fn_getatt(self, argument):
        name, attribute = argument if isinstance(argument, list) else argument.split(".", 1)
        kind, _ = self.target(name)
        called = self.reference(name)
        known = {
            ("AWS::SNS::Topic", "TopicName"): self.made_up(name),
            ("AWS::SQS::Queue", "QueueName"): self.made_up(name),
            ("AWS::Events::Rule", "Arn"): self.arn("events", "rule/" + called),
            ("AWS::SQS::Queue", "Arn"): self.arn("sqs", self.made_up(name)),
            ("AWS::Lambda::Function", "Arn"): self.arn("lambda", "function:" + called),
            ("AWS::IAM::Role", "Arn"): "arn:{}:iam::{}:role/{}".format(self.partition, ACCOUNT, name),
            ("AWS::S3::Bucket", "Arn"): "arn:{}:s3:::{}".format(self.partition, called),
            ("AWS::DynamoDB::Table", "Arn"): self.arn("dynamodb", "table/" + called),
            ("AWS::Logs::LogGroup", "Arn"): self.arn("logs", "log-group:" + called + ":*"),
            ("AWS::Events::EventBus", "Arn"): self.arn("events", "event-bus/" + called),
            ("AWS::CloudTrail::Trail", "Arn"): self.arn("cloudtrail", "trail/" + name),
            ("AWS::KMS::Key", "Arn"): self.arn("kms", "key/" + called),
        }
        return known[kind, attribute]

    def target(self, name):
        if name not in self.template["Resources"]:
            raise AssertionError("{} is not in the template".format(name))
        if name not in self.existing:
            raise AssertionError("{} is referred to, but its condition does not hold".format(name))
        resource = self.template["Resources"][name]
        return resource["Type"], resource.get("Properties", {})

    def arn(self, service, rest):
        return "arn:{}:{}:{}:{}:{}".format(self.partition, service, self.region, ACCOUNT, rest)

    def fn_if(self, argument):
        name, yes, no = argument
        return self.value(yes if self.condition(name) else no)

    def fn_sub(self, argument):
        text, variables = argument if isinstance(argument, list) else (argument, {})

        def put(match):
            name = match.group(1)
            if name in variables:
                return str(self.value(variables[name]))
            return str(self.fn_getatt(name) if "." in name else self.reference(name))

        return re.sub(r"\$\{([A-Za-z0-9:.]+)\}", put, text)

    def fn_join(self, argument):
        separator, parts = argument
        return separator.join(self.value(parts))

    def fn_split(self, argument):
        separator, text = argument
        return self.value(text).split(separator)

    def fn_select(self, argument):
        index, parts = argument
        return self.value(parts)[int(index)]

    def fn_findinmap(self, argument):
        table, first, second = map(self.value, argument)
        return self.template["Mappings"][table][first][second]

    # -- questions --

    def of_type(self, kind):
        return {key: resource for key, resource in self.resources.items() if resource["Type"] == kind}

    def properties(self, name):
        return self.resources[name]["Properties"]

    def statements(self, role):
        """What a role may do, by statement."""
        return {
            statement["Sid"]: statement
            for policy in self.properties(role)["Policies"]
            for statement in policy["PolicyDocument"]["Statement"]
        }

    def variables(self):
        return self.properties("CloudHsmAlertsFunction")["Environment"]["Variables"]

    def dependencies(self):
        """Which resources each one waits for."""

        def names(node):
            if isinstance(node, list):
                return set().union(*map(names, node)) if node else set()
            if not isinstance(node, dict):
                return set()
            if "Ref" in node:
                return {node["Ref"]}
            if "Fn::GetAtt" in node:
                argument = node["Fn::GetAtt"]
                return {argument[0] if isinstance(argument, list) else argument.split(".")[0]}
            if "Fn::If" in node:
                name, yes, no = node["Fn::If"]
                return names(yes if self.condition(name) else no)
            found = set()
            if "Fn::Sub" in node:
                argument = node["Fn::Sub"]
                text, variables = argument if isinstance(argument, list) else (argument, {})
                found |= {match.split(".")[0] for match in re.findall(r"\$\{([A-Za-z0-9:.]+)\}", text)} - set(variables)
                return found | names(list(variables.values()))
            return found.union(*[names(value) for value in node.values()])

        graph = {}
        for name in self.existing:
            declared = self.template["Resources"][name]
            after = declared.get("DependsOn", [])
            after = {after} if isinstance(after, str) else set(after)
            graph[name] = (names(declared.get("Properties", {})) | after) & self.existing
        return graph

    def __str__(self):
        return json.dumps(self.resources, indent=1, default=str)
