//! Stopping the caller: how the credential of one call is made useless, for each type of identity.
//!
//! It is said in the one place where all alerts about successful calls say it, and as the placeholder
//! `{stopCredential}` of responses. Only what the record names is used: a command applies to this access key, user or
//! role and to no other, and values that a shell would interpret are replaced by a placeholder in capitals. Undoing the
//! call is up to the rules.
//! Sources: IAM User Guide, "Disabling permissions for temporary security credentials", "Revoking IAM role temporary
//! security credentials", "Centrally manage root access for member accounts"; IAM Identity Center User Guide, "Revoke
//! active IAM role sessions created by permission sets".

use crate::{
    actor::{self, other_account},
    defang::defanged,
    partition,
    record::Record,
    text::{is_shell_safe, one_line},
};

/// Longest name or ID in a command. IAM's names have at most 128 characters.
const MAX_NAME: usize = 128;
/// Begins the names of the roles that IAM Identity Center makes.
const PERMISSION_SET: &str = "AWSReservedSSO_";
/// Begins the names of roles that only the service itself may use.
const SERVICE_LINKED: &str = "AWSServiceRoleFor";

/// What is to be done, as lines of a response: a command begins with four spaces.
pub struct StopCaller {
    /// In whose account the commands are run.
    account: Place,
    lines: Vec<String>,
}

/// Where the commands are run.
enum Place {
    /// In the caller's account, which recorded the call.
    Here,
    /// In the account of IAM Identity Center: the organization's management account, or the delegated one.
    IdentityCenter,
    /// There is no command.
    Nowhere,
}

/// How to stop the caller of a call, or `None` if no person and no role made it. `account` is the label of the account
/// that recorded the call.
pub fn steps(record: &Record, account: &str) -> Option<String> {
    let kind = record.str("userIdentity.type");
    if kind == Some("AWSService") || record.str("eventType") == Some("AwsServiceEvent") {
        return None;
    }
    let StopCaller {
        account: place,
        lines,
    } = of(record);
    let place = match place {
        Place::Here if record.account().is_none() => String::new(),
        Place::Here => format!(" in account {account}"),
        Place::IdentityCenter => {
            " in the account that administers IAM Identity Center (the organization's management account or a delegated one)"
                .to_owned()
        }
        Place::Nowhere => String::new(),
    };
    let mut text = format!("Stop the caller{place}, unless you know that the call was planned:");
    for line in lines.into_iter().chain(chained(record)) {
        text.push('\n');
        text.push_str(&line);
    }
    Some(text)
}

/// The first thing to do, on one line: a command, or a sentence.
pub fn first_step(record: &Record) -> String {
    let lines = of(record).lines;
    let command = lines.iter().find_map(|line| line.strip_prefix("    "));
    command
        .or(lines.first().map(String::as_str))
        .unwrap_or_default()
        .to_owned()
}

fn of(record: &Record) -> StopCaller {
    let step = |account: Place, lines: Vec<String>| StopCaller { account, lines };
    let said = |text: &str| StopCaller {
        account: Place::Nowhere,
        lines: vec![text.to_owned()],
    };
    if let Some(account) = other_account(record) {
        // Another user or role may have the same name in this account, so there is no command.
        return said(&format!(
            "The caller belongs to account {account}; only its owner can revoke the credential. Notify the owner. In this account, remove what grants that account access (resource policies, roles).",
            account = one_line(&account, 64)
        ));
    }
    match record.str("userIdentity.type") {
        Some("IAMUser") => step(Place::Here, iam_user(record)),
        Some("AssumedRole" | "Role") => assumed_role(record),
        Some("Root") => said(root(record)),
        Some("FederatedUser") => federated_user(record),
        Some("IdentityCenterUser") => step(Place::IdentityCenter, identity_center(record, None)),
        Some("AWSService") => {
            said("An AWS service made the call; there is no credential to revoke.")
        }
        Some("AWSAccount") => said(
            "The credential belongs to another account. Remove what grants that account access (resource policies, roles).",
        ),
        Some("SAMLUser" | "WebIdentityUser" | "Directory") => said(
            "At the identity provider: disable the user and end the sessions. In IAM: revoke the sessions of the role that the user assumes.",
        ),
        _ if record.field("userIdentity").is_none() => said(
            "The record does not name the caller. Look for calls from the same address at the same time, which may.",
        ),
        _ => said(
            "At the identity provider and in IAM: disable the identity that issued the session.",
        ),
    }
}

/// A member of the user identity that can be part of a command.
fn name<'r>(record: &'r Record, member: &str) -> Option<&'r str> {
    record
        .str(&format!("userIdentity.{member}"))
        .filter(|value| value.len() <= MAX_NAME && is_shell_safe(value))
}

fn iam_user(record: &Record) -> Vec<String> {
    let user = name(record, "userName").unwrap_or("USER_NAME");
    match name(record, "accessKeyId") {
        Some(key) if key.starts_with("AKIA") => vec![
            format!(
                "    aws iam update-access-key --user-name {user} --access-key-id {key} --status Inactive"
            ),
            "Sessions that were opened with this key stay valid, and the user may have another key or a password. To \
             deny the user everything:"
                .into(),
            deny_all(record, user),
        ],
        // A session stays valid until the user is denied everything.
        _ => vec![
            deny_all(record, user),
            "The call came from a session of this user, and this denies the user everything. Then see which access \
             keys there are:"
                .into(),
            format!("    aws iam list-access-keys --user-name {user}"),
        ],
    }
}

fn deny_all(record: &Record, user: &str) -> String {
    format!(
        "    aws iam attach-user-policy --user-name {user} --policy-arn arn:{}:iam::aws:policy/AWSDenyAll",
        partition_of(record)
    )
}

fn assumed_role(record: &Record) -> StopCaller {
    let issuer = "sessionContext.sessionIssuer.userName";
    let from_arn = || {
        let arn = record.str("userIdentity.arn")?;
        let (_, rest) = arn.split_once(":assumed-role/")?;
        rest.split('/')
            .next()
            .filter(|role| role.len() <= MAX_NAME && is_shell_safe(role))
    };
    let role = name(record, issuer)
        .or_else(from_arn)
        .unwrap_or("ROLE_NAME");
    if role.starts_with(SERVICE_LINKED) {
        return StopCaller {
            account: Place::Nowhere,
            lines: vec![format!(
                "The role {role} belongs to an AWS service, and its sessions cannot be revoked. Find out in that service who made it act."
            )],
        };
    }
    if role.starts_with(PERMISSION_SET) {
        let session = record
            .str("userIdentity.arn")
            .and_then(|arn| arn.rsplit_once('/'))
            .map(|(_, session)| session)
            .filter(|session| session.len() <= MAX_NAME && is_shell_safe(session));
        return StopCaller {
            account: Place::IdentityCenter,
            lines: identity_center(record, session),
        };
    }
    StopCaller {
        account: Place::Here,
        lines: vec![
            // The shell fills in the time: sessions that the caller opened after the call end, too.
            format!(
                "    aws iam put-role-policy --role-name {role} --policy-name AWSRevokeOlderSessions --policy-document '{{\"Version\":\"2012-10-17\",\"Statement\":[{{\"Effect\":\"Deny\",\"Action\":[\"*\"],\"Resource\":[\"*\"],\"Condition\":{{\"DateLessThan\":{{\"aws:TokenIssueTime\":\"'\"$(date -u +%Y-%m-%dT%H:%M:%SZ)\"'\"}}}}}}]}}'"
            ),
            "It ends every session of the role that is open now, also those of others and your own. Then see who may open a new one:"
                .into(),
            format!(
                "    aws iam get-role --role-name {role} --query Role.AssumeRolePolicyDocument"
            ),
        ],
    }
}

/// The role of a permission set is protected: it is changed through IAM Identity Center alone.
fn identity_center(record: &Record, session: Option<&str>) -> Vec<String> {
    let last = |path: &str| {
        name(record, path)?
            .rsplit('/')
            .next()
            .filter(|id| !id.is_empty())
    };
    let user = name(record, "onBehalfOf.userId");
    let store = last("onBehalfOf.identityStoreArn").unwrap_or("IDENTITY_STORE_ID");
    let account = record.account().filter(|account| is_shell_safe(account));
    let mut lines =
        vec!["    aws sso-admin list-instances --region REGION_OF_IDENTITY_CENTER".to_owned()];
    if user.is_none() {
        // The session is named after the user.
        let user_name = session.unwrap_or("USER_NAME");
        lines.push(format!(
            "    aws identitystore list-users --region REGION_OF_IDENTITY_CENTER --identity-store-id {store} --filters AttributePath=UserName,AttributeValue={user_name}"
        ));
    }
    let user = user.unwrap_or("USER_ID");
    lines.extend([
        format!(
            "    aws sso-admin list-account-assignments-for-principal --region REGION_OF_IDENTITY_CENTER --instance-arn INSTANCE_ARN --principal-type USER --principal-id {user}"
        ),
        format!(
            "    aws sso-admin delete-account-assignment --region REGION_OF_IDENTITY_CENTER --instance-arn INSTANCE_ARN --target-type AWS_ACCOUNT --target-id {} --permission-set-arn PERMISSION_SET_ARN --principal-type USER --principal-id {user}",
            account.as_deref().unwrap_or("ACCOUNT_ID")
        ),
        "An assignment through a group ends when the user leaves the group. In the console of IAM Identity Center \
         (Users), disable the user's access and delete the active sessions; with an outside identity provider, disable \
         the user there first."
            .into(),
        format!(
            "A session of the role that is open stays valid for up to 12 hours. Until then, deny the user everything by an SCP with the condition identitystore:UserId {user}."
        ),
    ]);
    lines
}

fn root(record: &Record) -> &'static str {
    if record
        .field("userIdentity.sessionContext.assumedRoot")
        .is_some()
    {
        return "This root session was opened from the organization's management account or a delegated one (sts:AssumeRoot) and ends within 15 minutes. Stop the identity there that opened it: look for AssumeRoot in that account's CloudTrail.";
    }
    "No command stops the root user. Sign in as root (Security credentials): change the password, delete the access keys, replace the MFA device. If you cannot sign in, open a case with AWS Support. In an organization, an SCP that denies root stops it at once, except in the management account."
}

fn federated_user(record: &Record) -> StopCaller {
    // The session has no more permissions than the user who opened it (GetFederationToken).
    match record.str("userIdentity.sessionContext.sessionIssuer.type") {
        Some("Root") => StopCaller {
            account: Place::Nowhere,
            lines: vec![root(record).to_owned()],
        },
        Some("IAMUser") => {
            let user =
                name(record, "sessionContext.sessionIssuer.userName").unwrap_or("USER_NAME");
            StopCaller {
                account: Place::Here,
                lines: vec![
                    deny_all(record, user),
                    "The session was opened by this IAM user and has no permission that the user lacks. Then see \
                     which access keys the user has:"
                        .into(),
                    format!("    aws iam list-access-keys --user-name {user}"),
                ],
            }
        }
        _ => StopCaller {
            account: Place::Nowhere,
            lines: vec![
                "The session was opened by an IAM user with GetFederationToken. Find that user in CloudTrail and deny the user everything (AWSDenyAll)."
                    .into(),
            ],
        },
    }
}

/// What goes on even when the identity is stopped: a service that acts for it, or a delegate.
fn chained(record: &Record) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(service) = record.str("userIdentity.invokedBy") {
        lines.push(format!(
            "The call came through {}, which acted for this identity and may go on with what it was asked to do. Look there for what was started (a stack, a plan, an automation) and stop that, too.",
            one_line(service, MAX_NAME)
        ));
    }
    if let Some(delegate) = actor::members(record, "userIdentity.invokedByDelegate") {
        lines.push(format!(
            "The identity was used by temporary delegation ({}). End that delegation, too.",
            defanged(&delegate, MAX_NAME)
        ));
    }
    lines
}

/// The partition of the caller's ARN, or else of the region.
fn partition_of(record: &Record) -> &str {
    let from_arn = record
        .str("userIdentity.arn")
        .and_then(|arn| arn.split(':').nth(1))
        .filter(|partition| partition.starts_with("aws") && is_shell_safe(partition));
    from_arn.unwrap_or_else(|| partition::of_region(record.region().unwrap_or_default()))
}

#[cfg(test)]
mod tests;
