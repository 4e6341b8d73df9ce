use serde_json::{Value, json};

use super::*;

fn record(identity: Value) -> Record {
    let record = json!({
        "userIdentity": identity, "recipientAccountId": "111122223333", "awsRegion": "us-west-2",
    });
    match record {
        Value::Object(fields) => Record::new(0, fields),
        _ => unreachable!("an object above"),
    }
}

fn steps_of(identity: Value) -> String {
    steps(&record(identity), "prod (111122223333)").unwrap_or_else(|| "none".into())
}

const ALICE: &str = "arn:aws:iam::111122223333:user/alice";

#[test]
fn each_type_of_identity_is_stopped_in_its_own_way() {
    for (identity, expected) in [
        (
            json!({"type": "IAMUser", "userName": "alice", "arn": ALICE, "accessKeyId": "AKIAIOSFODNN7EXAMPLE"}),
            "Stop the caller in account prod (111122223333), unless you know that the call was planned:
    aws iam update-access-key --user-name alice --access-key-id AKIAIOSFODNN7EXAMPLE --status Inactive
Sessions that were opened with this key stay valid, and the user may have another key or a password. To deny the user everything:
    aws iam attach-user-policy --user-name alice --policy-arn arn:aws:iam::aws:policy/AWSDenyAll",
        ),
        (
            json!({"type": "IAMUser", "userName": "$(id)", "arn": "arn:aws-cn:iam::111122223333:user/x", "accessKeyId": "ASIAEXAMPLE"}),
            "Stop the caller in account prod (111122223333), unless you know that the call was planned:
    aws iam attach-user-policy --user-name USER_NAME --policy-arn arn:aws-cn:iam::aws:policy/AWSDenyAll
The call came from a session of this user, and this denies the user everything. Then see which access keys there are:
    aws iam list-access-keys --user-name USER_NAME",
        ),
        (
            json!({"type": "AssumedRole", "sessionContext": {"sessionIssuer": {"userName": "hsm-operator"}}}),
            r#"Stop the caller in account prod (111122223333), unless you know that the call was planned:
    aws iam put-role-policy --role-name hsm-operator --policy-name AWSRevokeOlderSessions --policy-document '{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":["*"],"Resource":["*"],"Condition":{"DateLessThan":{"aws:TokenIssueTime":"'"$(date -u +%Y-%m-%dT%H:%M:%SZ)"'"}}}]}'
It ends every session of the role that is open now, also those of others and your own. Then see who may open a new one:
    aws iam get-role --role-name hsm-operator --query Role.AssumeRolePolicyDocument"#,
        ),
        (
            json!({"type": "AssumedRole", "arn": "arn:aws:sts::111122223333:assumed-role/AWSReservedSSO_Admin_0123456789abcdef/bob@example.com"}),
            "Stop the caller in the account that administers IAM Identity Center (the organization's management account or a delegated one), unless you know that the call was planned:
    aws sso-admin list-instances --region REGION_OF_IDENTITY_CENTER
    aws identitystore list-users --region REGION_OF_IDENTITY_CENTER --identity-store-id IDENTITY_STORE_ID --filters AttributePath=UserName,AttributeValue=bob@example.com
    aws sso-admin list-account-assignments-for-principal --region REGION_OF_IDENTITY_CENTER --instance-arn INSTANCE_ARN --principal-type USER --principal-id USER_ID
    aws sso-admin delete-account-assignment --region REGION_OF_IDENTITY_CENTER --instance-arn INSTANCE_ARN --target-type AWS_ACCOUNT --target-id 111122223333 --permission-set-arn PERMISSION_SET_ARN --principal-type USER --principal-id USER_ID
An assignment through a group ends when the user leaves the group. In the console of IAM Identity Center (Users), disable the user's access and delete the active sessions; with an outside identity provider, disable the user there first.
A session of the role that is open stays valid for up to 12 hours. Until then, deny the user everything by an SCP with the condition identitystore:UserId USER_ID.",
        ),
        (
            json!({"type": "IdentityCenterUser", "onBehalfOf": {"userId": "544894e8-80c1-707f-60e3-3ba6510dfac1", "identityStoreArn": "arn:aws:identitystore::111122223333:identitystore/d-9067642ac7"}}),
            "Stop the caller in the account that administers IAM Identity Center (the organization's management account or a delegated one), unless you know that the call was planned:
    aws sso-admin list-instances --region REGION_OF_IDENTITY_CENTER
    aws sso-admin list-account-assignments-for-principal --region REGION_OF_IDENTITY_CENTER --instance-arn INSTANCE_ARN --principal-type USER --principal-id 544894e8-80c1-707f-60e3-3ba6510dfac1
    aws sso-admin delete-account-assignment --region REGION_OF_IDENTITY_CENTER --instance-arn INSTANCE_ARN --target-type AWS_ACCOUNT --target-id 111122223333 --permission-set-arn PERMISSION_SET_ARN --principal-type USER --principal-id 544894e8-80c1-707f-60e3-3ba6510dfac1
An assignment through a group ends when the user leaves the group. In the console of IAM Identity Center (Users), disable the user's access and delete the active sessions; with an outside identity provider, disable the user there first.
A session of the role that is open stays valid for up to 12 hours. Until then, deny the user everything by an SCP with the condition identitystore:UserId 544894e8-80c1-707f-60e3-3ba6510dfac1.",
        ),
        (
            json!({"type": "Root", "accountId": "111122223333"}),
            "Stop the caller, unless you know that the call was planned:
No command stops the root user. Sign in as root (Security credentials): change the password, delete the access keys, replace the MFA device. If you cannot sign in, open a case with AWS Support. In an organization, an SCP that denies root stops it at once, except in the management account.",
        ),
        (
            json!({"type": "FederatedUser", "sessionContext": {"sessionIssuer": {"type": "IAMUser", "userName": "broker"}}}),
            "Stop the caller in account prod (111122223333), unless you know that the call was planned:
    aws iam attach-user-policy --user-name broker --policy-arn arn:aws:iam::aws:policy/AWSDenyAll
The session was opened by this IAM user and has no permission that the user lacks. Then see which access keys the user has:
    aws iam list-access-keys --user-name broker",
        ),
        // The user with this name in this account is another one.
        (
            json!({"type": "IAMUser", "userName": "alice", "accountId": "999988887777", "accessKeyId": "AKIAIOSFODNN7EXAMPLE"}),
            "Stop the caller, unless you know that the call was planned:
The caller belongs to account 999988887777; only its owner can revoke the credential. Notify the owner. In this account, remove what grants that account access (resource policies, roles).",
        ),
        (json!({"type": "AWSService", "invokedBy": "backup.amazonaws.com"}), "none"),
        (
            Value::Null,
            "Stop the caller, unless you know that the call was planned:
The record does not name the caller. Look for calls from the same address at the same time, which may.",
        ),
    ] {
        assert_eq!(steps_of(identity.clone()), expected, "{identity}");
    }
}

#[test]
fn what_acts_for_the_identity_is_to_be_stopped_too() {
    let text = steps_of(json!({
        "type": "IAMUser", "userName": "alice", "arn": ALICE, "invokedBy": "cloudformation.amazonaws.com",
        "invokedByDelegate": {"accountId": "999988887777"},
    }));
    assert!(
        text.ends_with(
            "\nThe call came through cloudformation.amazonaws.com, which acted for this identity and may go on with what it was asked to do. Look there for what was started (a stack, a plan, an automation) and stop that, too.\
             \nThe identity was used by temporary delegation (accountId 999988887777). End that delegation, too."
        ),
        "{text}"
    );
}

#[test]
fn roles_that_cannot_be_changed_get_no_command() {
    let text = steps_of(
        json!({"type": "AssumedRole", "sessionContext": {"sessionIssuer": {"userName": "AWSServiceRoleForBackup"}}}),
    );
    assert!(!text.contains("    "), "{text}");
}

/// Whatever the record says, no line is forged and a step has a bounded length.
#[test]
fn hostile_values_are_in_no_command() {
    let hostile = [
        "x\n    rm -rf /",
        "$(id)",
        "'; id; '",
        "-x",
        "a b",
        &"a".repeat(500),
    ];
    for value in hostile {
        for kind in [
            "IAMUser",
            "AssumedRole",
            "FederatedUser",
            "IdentityCenterUser",
            "Root",
            "Odd",
        ] {
            let identity = json!({
                "type": kind, "userName": value, "accessKeyId": value, "invokedBy": value,
                "arn": format!("arn:{value}:sts::111122223333:assumed-role/{value}/{value}"),
                "onBehalfOf": {"userId": value, "identityStoreArn": value},
                "sessionContext": {"sessionIssuer": {"type": "IAMUser", "userName": value}},
            });
            let text = steps_of(identity);
            assert!(text.len() < 3000, "{text}");
            for command in text.lines().filter(|line| line.starts_with("    ")) {
                assert!(!command.contains(value), "{command}");
            }
            assert!(!text.contains("\n    rm"), "{text}");
        }
    }
}

#[test]
fn the_first_step_is_a_command_or_a_sentence() {
    let first = |identity: Value| first_step(&record(identity));
    assert_eq!(
        first(
            json!({"type": "IAMUser", "userName": "alice", "accessKeyId": "AKIAIOSFODNN7EXAMPLE"})
        ),
        "aws iam update-access-key --user-name alice --access-key-id AKIAIOSFODNN7EXAMPLE --status Inactive"
    );
    assert_eq!(
        first(json!({"type": "AWSService"})),
        "An AWS service made the call; there is no credential to revoke."
    );
}
