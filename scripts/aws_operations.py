"""Writes crates/core/src/rules/check/aws.json: what `rules check` knows of AWS's APIs.

The names of operations and their members come from the service models in botocore, which is
installed with moto; where CloudTrail writes other names than the API has, those are added here,
with the page that says so. Run it with `make operations` after raising tools/moto.txt.
"""

import json
import sys

import botocore
import botocore.session
from botocore.model import ServiceModel, Shape

# Event source: the models whose calls are recorded under it.
# CloudHSM: both APIs, https://docs.aws.amazon.com/cloudhsm/latest/userguide/get-api-logs-using-cloudtrail.html
SERVICES = {"cloudhsm": ["cloudhsmv2", "cloudhsm"], "s3": ["s3", "s3control"], "monitoring": ["cloudwatch"]}
ALIKE = "kms cloudtrail sns lambda iam ec2 logs dynamodb sqs sts events cloudformation organizations"
SERVICES |= {name: [name] for name in ALIKE.split()}

# Services whose members are listed for each operation: a placeholder of their rules is checked against the
# very calls that the rule names. The others have one list for all their operations.
BY_OPERATION = {"cloudhsm", "kms"}

# Event names that CloudTrail writes and the model does not have.
# S3: https://docs.aws.amazon.com/AmazonS3/latest/userguide/cloudtrail-logging-s3-info.html
# KMS: https://docs.aws.amazon.com/kms/latest/developerguide/logging-using-cloudtrail.html
# EC2: https://docs.aws.amazon.com/ebs/latest/userguide/ebs-snapshot-monitor.html
EVENT_NAMES = {
    "s3": """
        DeleteBucketCors DeleteBucketEncryption DeleteBucketLifecycle DeleteBucketPolicy
        DeleteBucketPublicAccessBlock DeleteBucketReplication DeleteBucketTagging DeleteBucketWebsite
        DeleteAccountPublicAccessBlock GetAccountPublicAccessBlock GetBucketLifecycle GetBucketNotification
        GetBucketObjectLockConfiguration GetBucketPublicAccessBlock ListAllMyBuckets PutAccountPublicAccessBlock
        PutBucketLifecycle PutBucketNotification PutBucketObjectLockConfiguration PutBucketPublicAccessBlock
        PutBucketVersioning PutAccelerateConfiguration
    """,
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

# Event sources that are not named after a service's endpoint.
SOURCES = ["signin", "sso-directory", "sso-oauth", "identitystore", "backint", "tagging", "health", "support"]


def lower_first(name: str) -> str:
    """A member as CloudTrail spells it."""
    return name[0].lower() + name[1:]


def members(shape: Shape | None, found: set[str], path: tuple[str, ...] = ()) -> set[str]:
    """Every member name of a shape, at any depth, each once."""
    if shape is None or shape.name in path:
        return found
    path = (*path, shape.name)
    if shape.type_name == "structure":
        for name, member in shape.members.items():
            found.add(lower_first(name))
            members(member, found, path)
    elif shape.type_name == "list":
        members(shape.member, found, path)
    elif shape.type_name == "map":
        # Names of a queue's attributes, say: a member of the request like any other.
        found.update(getattr(shape.key, "enum", ()))
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
        return {"operations": {name: sorted(found | extra) for name, found in sorted(operations.items())}}
    return {
        "operations": {name: [] for name in sorted(operations)},
        "members": sorted(set().union(extra, *operations.values())),
    }


def main() -> None:
    session = botocore.session.get_session()
    sources = set(SOURCES)
    for name in session.get_available_services():
        metadata = session.get_service_model(name).metadata
        sources.add(metadata["endpointPrefix"].split(".")[-1])
        sources.add(metadata.get("signingName", metadata["endpointPrefix"]).split(".")[-1])
    known = {
        "generated_from": f"botocore {botocore.__version__}",
        "services": {
            f"{source}.amazonaws.com": service(source, [session.get_service_model(name) for name in names])
            for source, names in SERVICES.items()
        },
        "event_sources": sorted(f"{name}.amazonaws.com" for name in sources),
    }
    json.dump(known, sys.stdout, separators=(",", ":"), sort_keys=True)
    print()


if __name__ == "__main__":
    main()
