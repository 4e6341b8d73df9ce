"""Writes what `rules check` knows of AWS's APIs, and the parameters of commands in alerts and reports, which tests
check. Both come from the service models in botocore, which is installed with moto; where CloudTrail writes other names
than the API has, those are added here, with the page that says so. `make operations` runs it: after raising
tools/moto.txt, and after writing a command that none had."""

import json
import re
from pathlib import Path

import botocore
import botocore.session
from botocore import xform_name
from botocore.model import ServiceModel, Shape

CORE = Path(__file__).parents[1] / "crates/core/src"

# Event source: the models whose calls are recorded under it.
# CloudHSM: both APIs, https://docs.aws.amazon.com/cloudhsm/latest/userguide/get-api-logs-using-cloudtrail.html
SERVICES = {"cloudhsm": ["cloudhsmv2", "cloudhsm"], "s3": ["s3", "s3control"], "monitoring": ["cloudwatch"]}
ALIKE = "kms cloudtrail sns lambda iam ec2 logs dynamodb sqs sts events cloudformation organizations"
SERVICES |= {name: [name] for name in ALIKE.split()}

# Services whose members are listed for each operation, so that a placeholder is checked against the calls of its rule.
BY_OPERATION = {"cloudhsm", "kms"}

# Event names that CloudTrail writes and the model does not have.
# S3: https://docs.aws.amazon.com/AmazonS3/latest/userguide/cloudtrail-logging-s3-info.html
# KMS: https://docs.aws.amazon.com/kms/latest/developerguide/logging-using-cloudtrail.html
# EC2: https://docs.aws.amazon.com/ebs/latest/userguide/ebs-snapshot-monitor.html
EVENT_NAMES = {
    "s3": """DeleteBucketCors DeleteBucketEncryption DeleteBucketLifecycle DeleteBucketPolicy
DeleteBucketPublicAccessBlock DeleteBucketReplication DeleteBucketTagging DeleteBucketWebsite
DeleteAccountPublicAccessBlock GetAccountPublicAccessBlock GetBucketLifecycle GetBucketNotification
GetBucketObjectLockConfiguration GetBucketPublicAccessBlock ListAllMyBuckets PutAccountPublicAccessBlock
PutBucketLifecycle PutBucketNotification PutBucketObjectLockConfiguration PutBucketPublicAccessBlock
PutBucketVersioning PutAccelerateConfiguration""",
    "kms": "DeleteKey RotateKey SynchronizeMultiRegionKey DeleteExpiredKeyMaterial",
    "ec2": "SharedSnapshotCopyInitiated SharedSnapshotVolumeCreated",
}

# Member names that CloudTrail writes and the model does not have.
MEMBERS = {
    "s3": ["bucketName", "host", "acl", "lifecycle", "notification", "versioning", "encryption", "publicAccessBlock"],
    "kms": ["clusterId", "customKeyStoreName"],
    # Keys of a map without a list in the model: https://docs.aws.amazon.com/sns/latest/api/API_SetSMSAttributes.html
    "sns": ["MonthlySpendLimit", "DeliveryStatusIAMRole", "DefaultSenderID", "DefaultSMSType"],
    "ec2": ["items", "groupSet", "securityGroupRuleSet", "ipRanges", "fromPort", "toPort"],
}

# Event sources that no service's endpoint is named after.
SOURCES = ["signin", "sso-directory", "sso-oauth", "identitystore", "backint", "tagging", "health", "support"]


def members(shape: Shape | None, found: set[str], path: tuple[str, ...] = ()) -> set[str]:
    """Every member name of a shape, at any depth, each once."""
    if shape is None or shape.name in path:
        return found
    path = (*path, shape.name)
    if shape.type_name == "structure":
        for name, member in shape.members.items():
            found.add(name[0].lower() + name[1:])  # as CloudTrail spells it
            members(member, found, path)
    elif shape.type_name == "list":
        members(shape.member, found, path)
    elif shape.type_name == "map":
        found.update(getattr(shape.key, "enum", ()))  # names of a queue's attributes, say
        members(shape.value, found, path)
    return found


def service(source: str, models: list[ServiceModel]) -> dict:
    """Operations of an event source, and the members of their requests and responses."""
    operations: dict[str, set[str]] = {}
    for model in models:
        for name in model.operation_names:
            operation = model.operation_model(name)
            found = operations.setdefault(name, set())
            # The responses of EC2 are a third of all of AWS's; rules read its requests.
            shapes = [operation.input_shape] if source == "ec2" else [operation.input_shape, operation.output_shape]
            for shape in shapes:
                members(shape, found)
    for name in EVENT_NAMES.get(source, "").split():
        operations.setdefault(name, set())
    extra = set(MEMBERS.get(source, ()))
    if source in BY_OPERATION:
        return {"operations": {name: sorted(found | extra) for name, found in operations.items()}}
    everything = set().union(extra, *operations.values())
    return {"operations": {name: [] for name in operations}, "members": sorted(everything)}


def form(shape: Shape, path: tuple[str, ...] = ()) -> object:
    """A parameter as the AWS CLI takes it: its members, the form of its items, or its type."""
    if shape.type_name == "structure" and shape.name not in path:
        return {name: form(member, (*path, shape.name)) for name, member in shape.members.items()}
    return [form(shape.member, path)] if shape.type_name == "list" else shape.type_name


def parameters(session: botocore.session.Session, service: str, command: str) -> dict:
    """The parameters of a command; the name of a required one ends with an exclamation mark."""
    model = session.get_service_model({"s3api": "s3"}.get(service, service))
    name = next(name for name in model.operation_names if xform_name(name, "-") == command)
    shape = model.operation_model(name).input_shape
    required, members = (shape.required_members, shape.members) if shape else ([], {})
    return {xform_name(name, "-") + "!" * (name in required): form(member) for name, member in members.items()}


def main() -> None:
    session = botocore.session.get_session()
    paths = (*CORE.parents[2].glob("rules/**/*.yml"), *CORE.rglob("*.rs"), *CORE.parents[1].glob("cli/src/report/*.rs"))
    commands = set(re.findall(r'(?:    |")aws ([a-z0-9-]+) ([a-z0-9-]+)', "".join(map(Path.read_text, paths))))
    commands -= {command for command in commands if "s3" in command or "validate-logs" in command}  # without a model
    forms = {f"{service} {name}": parameters(session, service, name) for service, name in commands}
    path = CORE.parents[1] / "test-support/src/commands.json"
    path.write_text(json.dumps(forms, separators=(",", ":"), sort_keys=True) + "\n")
    sources = set(SOURCES)
    for name in session.get_available_services():
        metadata = session.get_service_model(name).metadata
        sources.update(metadata[key].split(".")[-1] for key in ("endpointPrefix", "signingName") if key in metadata)
    models = {source: [session.get_service_model(name) for name in names] for source, names in SERVICES.items()}
    services = {f"{source}.amazonaws.com": service(source, models[source]) for source in models}
    event_sources = sorted(f"{name}.amazonaws.com" for name in sources)
    known = {"generated_from": f"botocore {botocore.__version__}", "services": services, "event_sources": event_sources}
    (CORE / "rules/check/aws.json").write_text(json.dumps(known, separators=(",", ":"), sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
