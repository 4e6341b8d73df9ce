"""A stack as CloudFormation would make it: the template expanded by SAM's own translator, its conditions decided and
its functions evaluated for one choice of parameters.

Values that only AWS knows are invented, but have the right form: a resource is called by its logical name. What is not
known here (a function, an attribute, a name that leads nowhere) is an error, so that a typing mistake in the template
cannot pass for a value. CloudFormation's rules for parameters are kept: allowed values, patterns, and assertions.
"""

import copy
import functools
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import boto3
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

ROOT = Path(__file__).resolve().parent.parent.parent
ACCOUNT = "111122223333"
STACK = "cloudhsm-alerts"
NO_VALUE = object()


class Refused(Exception):
    """CloudFormation would not take these parameters; holds the sentence it would show."""


@functools.cache
def source(name: str) -> dict:
    return yaml_parse((ROOT / name).read_text())


@functools.cache
def translated(name: str) -> dict:
    """The template without SAM's own types. Parameters stay open: SAM gets none of them."""
    document = copy.deepcopy(source(name))
    for resource in document["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"]["CodeUri"] = "s3://code/code.zip"
    session = boto3.Session(region_name="us-east-1")
    return Translator(managed_policy_map={}, sam_parser=Parser(), boto_session=session).translate(document, {})


def as_list(value: Any) -> list:
    return value if isinstance(value, list) else [value]


class Expanded:
    """One stack. `resources` are those that exist, by logical name, with their values."""

    def __init__(
        self,
        name: str = "template.yaml",
        partition: str = "aws",
        region: str = "us-west-2",
        stack: str = STACK,
        imports: Mapping[str, str] = MappingProxyType({}),
        **parameters: str | int,
    ) -> None:
        self.template, self.imports = translated(name), imports
        self.partition, self.region, self.stack = partition, region, stack
        self.referred: set[str] = set()
        self.parameters = self.checked(parameters)
        for rule in self.template.get("Rules", {}).values():
            if self.truth(rule.get("RuleCondition", {"Fn::Equals": ["", ""]})):
                for assertion in rule["Assertions"]:
                    if not self.truth(assertion["Assert"]):
                        raise Refused(assertion["AssertDescription"])

        def exists(declared: dict) -> bool:
            return "Condition" not in declared or self.condition(declared["Condition"])

        declared = self.template["Resources"]
        self.existing = {key for key, resource in declared.items() if exists(resource)}
        self.resources = {key: self.value(declared[key]) for key in declared if key in self.existing}
        outputs = {key: output for key, output in self.template["Outputs"].items() if exists(output)}
        self.outputs = {key: self.value(output["Value"]) for key, output in outputs.items()}
        self.exports = {
            self.value(output["Export"]["Name"]): self.outputs[key]
            for key, output in outputs.items()
            if "Export" in output
        }

    def beside(self, name: str, **parameters: str) -> "Expanded":
        """A stack of guard.yaml or backfill.yaml, which uses the exports of this one."""
        stack = f"{self.stack}-{name.removesuffix('.yaml')}"
        return Expanded(name, self.partition, self.region, stack, self.exports, AlertsStack=self.stack, **parameters)

    def checked(self, given: dict[str, str | int]) -> dict[str, str]:
        values = {}
        for key, declared in self.template["Parameters"].items():
            value = given.pop(key, declared.get("Default"))
            if value is None:
                raise Refused(f"Parameters: [{key}] must have values")
            text = str(value)
            if "AllowedValues" in declared and text not in map(str, declared["AllowedValues"]):
                raise Refused(f"{key}: {text} is not allowed")
            if "AllowedPattern" in declared and not re.fullmatch(declared["AllowedPattern"], text):
                raise Refused(f"{key}: {declared['ConstraintDescription']}")
            if "MinValue" in declared and not declared["MinValue"] <= float(text) <= declared["MaxValue"]:
                raise Refused(f"{key}: {text} is out of range")
            values[key] = text
        if given:
            raise Refused(f"no such parameter: {', '.join(given)}")
        return values

    # -- conditions --

    def condition(self, name: str) -> bool:
        return self.truth(self.template["Conditions"][name])

    def truth(self, expression: dict) -> bool:
        ((function, argument),) = expression.items()
        if function == "Condition":
            return self.condition(argument)
        if function == "Fn::Equals":
            left, right = (str(self.value(side)) for side in argument)
            return left == right
        if function == "Fn::Not":
            return not self.truth(argument[0])
        assert function in ("Fn::And", "Fn::Or"), expression
        assert 2 <= len(argument) <= 10, argument
        # Each part, so that a mistake in any of them shows.
        parts = [self.truth(part) for part in argument]
        return all(parts) if function == "Fn::And" else any(parts)

    # -- values --

    def value(self, node: Any) -> Any:
        if isinstance(node, list):
            return [value for value in map(self.value, node) if value is not NO_VALUE]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            ((function, argument),) = node.items()
            if function == "Ref":
                return self.reference(argument)
            if function.startswith("Fn::"):
                return getattr(self, f"fn_{function[4:].lower()}")(argument)
        values = {key: self.value(value) for key, value in node.items()}
        return {key: value for key, value in values.items() if value is not NO_VALUE}

    def reference(self, name: str) -> Any:
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
            return f"{self.value(properties['TopicArn'])}:5be8f5b0-1b4a-4d0c-9a57-000000000001"
        if kind == "AWS::KMS::Key":
            return f"7d1c4b90-2e5f-4a68-b3d7-{zlib.crc32(name.encode()):012x}"
        if kind == "AWS::SQS::Queue":
            return f"https://sqs.{self.region}/{ACCOUNT}/{self.made_up(name)}"
        named_by = {
            "AWS::Lambda::Function": "FunctionName",
            "AWS::S3::Bucket": "BucketName",
            "AWS::Events::EventBus": "Name",
            "AWS::Events::Rule": "Name",
            "AWS::CloudWatch::Dashboard": "DashboardName",
        }
        return self.value(properties.get(named_by.get(kind, ""), self.made_up(name)))

    def made_up(self, name: str) -> str:
        """What CloudFormation calls a resource that the template gives no name."""
        return name

    def fn_getatt(self, argument: list | str) -> str:
        name, attribute = argument if isinstance(argument, list) else argument.split(".", 1)
        kind, _ = self.target(name)
        called = self.reference(name)
        known = {
            ("AWS::SNS::Topic", "TopicName"): self.made_up(name),
            ("AWS::SQS::Queue", "QueueName"): self.made_up(name),
            ("AWS::Events::Rule", "Arn"): self.arn("events", f"rule/{called}"),
            ("AWS::SQS::Queue", "Arn"): self.arn("sqs", self.made_up(name)),
            ("AWS::Lambda::Function", "Arn"): self.arn("lambda", f"function:{called}"),
            ("AWS::IAM::Role", "Arn"): f"arn:{self.partition}:iam::{ACCOUNT}:role/{name}",
            ("AWS::S3::Bucket", "Arn"): f"arn:{self.partition}:s3:::{called}",
            ("AWS::DynamoDB::Table", "Arn"): self.arn("dynamodb", f"table/{called}"),
            ("AWS::Logs::LogGroup", "Arn"): self.arn("logs", f"log-group:{called}:*"),
            ("AWS::Events::EventBus", "Arn"): self.arn("events", f"event-bus/{called}"),
            ("AWS::CloudTrail::Trail", "Arn"): self.arn("cloudtrail", f"trail/{name}"),
        }
        return known[kind, attribute]

    def target(self, name: str) -> tuple[str, dict]:
        assert name in self.template["Resources"], f"{name} is not in the template"
        assert name in self.existing, f"{name} is referred to, but its condition does not hold"
        self.referred.add(name)
        resource = self.template["Resources"][name]
        return resource["Type"], resource.get("Properties", {})

    def arn(self, service: str, rest: str) -> str:
        return f"arn:{self.partition}:{service}:{self.region}:{ACCOUNT}:{rest}"

    def fn_if(self, argument: list) -> Any:
        name, yes, no = argument
        return self.value(yes if self.condition(name) else no)

    def fn_sub(self, argument: list | str) -> str:
        text, variables = argument if isinstance(argument, list) else (argument, {})

        def put(match: re.Match) -> str:
            name = match[1]
            if name in variables:
                return str(self.value(variables[name]))
            return str(self.fn_getatt(name) if "." in name else self.reference(name))

        return re.sub(r"\$\{([A-Za-z0-9:.]+)\}", put, text)

    def fn_join(self, argument: list) -> str:
        separator, parts = argument
        return separator.join(self.value(parts))

    def fn_split(self, argument: list) -> list[str]:
        separator, text = argument
        return self.value(text).split(separator)

    def fn_select(self, argument: list) -> Any:
        index, parts = argument
        return self.value(parts)[int(index)]

    def fn_importvalue(self, argument: Any) -> str:
        return self.imports[self.value(argument)]

    def fn_findinmap(self, argument: list) -> Any:
        table, first, second = map(self.value, argument)
        return self.template["Mappings"][table][first][second]

    # -- what a stack holds --

    def of_type(self, kind: str) -> dict[str, dict]:
        return {key: resource for key, resource in self.resources.items() if resource["Type"] == kind}

    def properties(self, name: str) -> dict:
        return self.resources[name]["Properties"]

    def statements(self, name: str) -> dict[str, dict]:
        """What a role may do, or what a policy of a resource allows and denies, by Sid."""
        properties = self.properties(name)
        documents = [policy["PolicyDocument"] for policy in properties.get("Policies", [])]
        documents += [properties[key] for key in ("PolicyDocument", "KeyPolicy") if key in properties]
        return {statement["Sid"]: statement for document in documents for statement in document["Statement"]}

    def variables(self) -> dict[str, str]:
        return self.properties("CloudHsmAlertsFunction")["Environment"]["Variables"]

    def dependencies(self) -> dict[str, set[str]]:
        """Which resources each one waits for."""
        graph = {}
        for name in self.existing:
            declared = self.template["Resources"][name]
            self.referred = set(as_list(declared.get("DependsOn", [])))
            self.value(declared.get("Properties", {}))
            graph[name] = self.referred & self.existing
        return graph
