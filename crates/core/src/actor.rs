//! The actor: who made a call, derived from `userIdentity` and described for people.
//!
//! Each identity type uses other fields. The reader must be able to decide whether the caller is a colleague, so
//! the description names the person or role, the session and a foreign account. All values are passed through
//! [`crate::text`] or [`crate::defang`]. Source: AWS CloudTrail User Guide, "CloudTrail userIdentity element".

use serde_json::Value;

use crate::{defang::defanged, record::Record, text::one_line};

/// Maximum length of a name, in characters.
const MAX_NAME: usize = 128;

/// Stands for the name of a caller that the record does not name.
pub const UNNAMED: &str = "(not named in the record)";

/// The caller, described for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// `userIdentity.type`. `None`: the record has no identity, as for AWS service events.
    pub kind: Option<String>,
    /// A description, such as `role AdminRole (session alice)`.
    pub description: String,
    /// A short form, such as `AdminRole/alice`, or `444455556666/AdminRole/alice` for another account's caller.
    pub short: String,
    /// The session name, if the caller is a role.
    pub session: Option<String>,
    /// The caller's account, if it is not the account that recorded the call.
    pub other_account: Option<String>,
    /// The identity without its session. Sessions of a role count as one identity, because anyone who may assume the
    /// role chooses the session name.
    pub principal: String,
    /// Whether the session was authenticated with MFA. `None`: not recorded.
    pub mfa: Option<bool>,
    /// The client: console, CLI, tool or service.
    pub client: Client,
}

/// The client that made the call.
///
/// AWS sets `sessionCredentialFromConsole` and `invokedBy`. The caller sets the user agent, so what is derived from
/// it is marked as a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Client {
    /// The AWS console.
    Console,
    /// An AWS service, on behalf of the identity.
    Service(String),
    /// A tool, according to the user agent.
    Claimed(&'static str),
    /// The user agent is missing or not known.
    Unknown,
}

impl Client {
    /// A description for people.
    pub fn describe(&self) -> String {
        match self {
            Client::Console => "AWS console".into(),
            Client::Service(name) => format!("AWS service {name}"),
            Client::Claimed(tool) => format!("{tool} (as its user agent claims)"),
            Client::Unknown => "not known from the record".into(),
        }
    }
}

impl Actor {
    /// The actor of a record.
    pub fn of(record: &Record) -> Actor {
        let kind = record
            .str("userIdentity.type")
            .map(|k| one_line(k, MAX_NAME));
        let (mut description, mut short) = describe(record, kind.as_deref());
        let session = session(record).map(|name| one_line(name, 256));
        let other_account = other_account(record);
        if let Some(account) = &other_account {
            let account = one_line(account, MAX_NAME);
            // Some descriptions already contain the account, such as that of the root user.
            if !description.contains(&account) {
                description.push_str(&format!(" of account {account}"));
            }
            if !short.contains(&account) {
                short = format!("{account}/{short}");
            }
        }
        Actor {
            kind,
            description,
            short,
            session,
            other_account,
            principal: principal(record),
            mfa: record.flag("userIdentity.sessionContext.attributes.mfaAuthenticated"),
            client: client(record),
        }
    }

    /// Whether the caller used MFA, where the record tells. For a role it shows only MFA by AWS, not that of an identity
    /// provider, so a `false` says nothing.
    pub fn known_mfa(&self) -> Option<bool> {
        self.mfa
            .filter(|mfa| *mfa || self.kind.as_deref() != Some("AssumedRole"))
    }

    /// The value of the message attribute `actor_type`.
    pub fn kind_or_unknown(&self) -> &str {
        self.kind.as_deref().unwrap_or("Unknown")
    }
}

/// The caller's account, if it is not the account that recorded the call. The same user name can belong to another
/// person there.
pub fn other_account(record: &Record) -> Option<String> {
    let here = record.account_id("recipientAccountId")?;
    let from_arn = || {
        let arn = record.str("userIdentity.arn")?;
        arn.split(':')
            .nth(4)
            .filter(|id| !id.is_empty())
            .map(str::to_owned)
    };
    let caller = record
        .account_id("userIdentity.sessionContext.sessionIssuer.accountId")
        .or_else(|| record.account_id("userIdentity.accountId"))
        .or_else(from_arn)?;
    (caller != here).then_some(caller)
}

/// The members of an object in the record, on one line: `accountId 999988887777`.
pub fn members(record: &Record, path: &str) -> Option<String> {
    let scalar = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    };
    let text = match record.field(path)? {
        Value::Object(fields) => fields
            .iter()
            .filter_map(|(name, value)| Some(format!("{name} {}", scalar(value)?)))
            .collect::<Vec<_>>()
            .join(", "),
        value => scalar(value)?,
    };
    Some(one_line(&text, 400)).filter(|text| !text.is_empty())
}

/// The principal that has the permissions: the role of a session, or else the user, service or account.
fn principal(record: &Record) -> String {
    let field = |name: &str| record.str(&format!("userIdentity.{name}"));
    let role = || {
        let arn = field("arn")?;
        Some(match role_and_session(record)? {
            (_, Some(_)) => arn.rsplit_once('/')?.0.to_owned(),
            (_, None) => arn.to_owned(),
        })
    };
    let issuer = || field("sessionContext.sessionIssuer.arn").map(str::to_owned);
    let named = || {
        let principal = field("principalId").and_then(|id| id.split(':').next());
        field("arn")
            .or(principal)
            .or_else(|| field("userName"))
            .or_else(|| field("invokedBy"))
            .map(str::to_owned)
    };
    let principal = issuer().or_else(role).or_else(named).unwrap_or_default();
    let account = record.account_id("userIdentity.accountId");
    format!("{} {principal}", account.unwrap_or_default())
}

fn describe(record: &Record, kind: Option<&str>) -> (String, String) {
    let field = |name: &str| {
        record
            .str(&format!("userIdentity.{name}"))
            .map(|text| match name {
                // AWS sets this name.
                "invokedBy" => one_line(text, MAX_NAME),
                _ => defanged(text, MAX_NAME),
            })
    };
    let account = field("accountId");
    let of_account = account
        .as_ref()
        .map_or_else(String::new, |id| format!(" of account {id}"));
    let user_name = field("userName");
    // The end of the ARN, or else the principal ID, where userName is not recorded.
    let fallback = record
        .str("userIdentity.arn")
        .and_then(|arn| arn.rsplit('/').next())
        .map(|name| defanged(name, MAX_NAME))
        .or_else(|| field("principalId"));
    let name = user_name.clone().or_else(|| fallback.clone());
    let or_unnamed = |name: Option<String>| name.unwrap_or_else(|| UNNAMED.into());
    let provider = field("identityProvider");
    let from_provider = provider
        .as_ref()
        .map_or_else(String::new, |name| format!(" of identity provider {name}"));

    match kind {
        Some("Root") => {
            let alias = user_name
                .filter(|name| Some(name) != account.as_ref())
                .map_or_else(String::new, |alias| format!(" ({alias})"));
            (format!("the ROOT user{of_account}{alias}"), "root".into())
        }
        Some("IAMUser") => {
            let name = or_unnamed(name);
            (format!("IAM user {name}"), name)
        }
        Some("AssumedRole") => assumed_role(record),
        Some("Role") => {
            let name = or_unnamed(name);
            (format!("role {name}"), name)
        }
        Some("FederatedUser") => {
            let issuer = issuer_name(record).map_or_else(String::new, |issuer| {
                format!(" (session issued by {issuer})")
            });
            let name =
                or_unnamed(name.map(|n| n.rsplit(':').next().unwrap_or_default().to_owned()));
            (format!("federated user {name}{issuer}"), name)
        }
        Some("Directory") => {
            let name = or_unnamed(name);
            (format!("directory user {name}"), name)
        }
        Some("AWSAccount") => {
            let id = or_unnamed(account);
            let principal = field("principalId")
                .map_or_else(String::new, |principal| format!(" (principal {principal})"));
            (
                format!("another AWS account, {id}{principal}"),
                format!("account {id}"),
            )
        }
        Some("AWSService") => {
            let service = or_unnamed(field("invokedBy"));
            (format!("the AWS service {service}"), service)
        }
        Some("IdentityCenterUser") => {
            let id = or_unnamed(field("onBehalfOf.userId").or(name));
            (format!("IAM Identity Center user {id}"), id)
        }
        Some("SAMLUser") => {
            let name = or_unnamed(name);
            (format!("SAML user {name}{from_provider}"), name)
        }
        Some("WebIdentityUser") => {
            let name = or_unnamed(name);
            (format!("web identity user {name}{from_provider}"), name)
        }
        Some("Unknown") => {
            let name = or_unnamed(name);
            (
                format!("an identity that CloudTrail calls unknown, {name}"),
                name,
            )
        }
        Some(other) => {
            let name = or_unnamed(name);
            (format!("{name} (identity type {other})"), name)
        }
        // An AwsServiceEvent has no userIdentity.
        None if record.str("eventType") == Some("AwsServiceEvent") => {
            ("AWS itself (a service event)".into(), "AWS".into())
        }
        None => match field("invokedBy") {
            Some(service) => (format!("the AWS service {service}"), service),
            None => {
                let name = or_unnamed(name);
                (format!("an identity {name}"), name)
            }
        },
    }
}

/// The role and the session in `arn:aws:sts::<account>:assumed-role/<role>/<session>`.
fn role_and_session(record: &Record) -> Option<(&str, Option<&str>)> {
    let (_, rest) = record
        .str("userIdentity.arn")?
        .split_once(":assumed-role/")?;
    Some(match rest.rsplit_once('/') {
        Some((role, session)) => (role, Some(session)),
        None => (rest, None),
    })
}

/// The session name of a role.
fn session(record: &Record) -> Option<&str> {
    if record.str("userIdentity.type") != Some("AssumedRole") {
        return None;
    }
    role_and_session(record)
        .and_then(|(_, session)| session)
        .or_else(|| Some(record.str("userIdentity.principalId")?.split_once(':')?.1))
}

/// Description and short form of an assumed role. The session name is often an e-mail address, so role and session
/// are separated before long names are cut.
fn assumed_role(record: &Record) -> (String, String) {
    let session = session(record).map(|name| defanged(name, MAX_NAME));
    let role = record
        .str("userIdentity.sessionContext.sessionIssuer.userName")
        .or_else(|| Some(role_and_session(record)?.0))
        .map(|name| defanged(name, MAX_NAME));

    // IAM Identity Center names its roles AWSReservedSSO_<permission set>_<16 hex digits>.
    let permission_set = role
        .as_deref()
        .and_then(|role| role.strip_prefix("AWSReservedSSO_"))
        .map(|set| set.rsplit_once('_').map_or(set, |(set, _)| set).to_owned());
    let who = match (&permission_set, &role) {
        (Some(set), _) => format!("IAM Identity Center permission set {set}"),
        (None, Some(role)) => format!("role {role}"),
        (None, None) => "a role (not named in the record)".to_owned(),
    };
    let of_account = other_account(record).map_or_else(String::new, |account| {
        format!(" of account {}", one_line(&account, MAX_NAME))
    });
    let description = match &session {
        Some(session) => format!("{who}{of_account} (session {session})"),
        None => format!("{who}{of_account}"),
    };
    let role = permission_set.or(role).unwrap_or_else(|| "role".into());
    let short = session.map_or_else(|| role.clone(), |session| format!("{role}/{session}"));
    (description, short)
}

fn issuer_name(record: &Record) -> Option<String> {
    let issuer = "userIdentity.sessionContext.sessionIssuer";
    let name = record.str(&format!("{issuer}.userName"))?;
    let kind = match record.str(&format!("{issuer}.type")) {
        Some("IAMUser") => "IAM user ",
        Some("Role") => "role ",
        _ => "",
    };
    Some(format!("{kind}{}", defanged(name, MAX_NAME)))
}

/// Parts of user agents in lower case, and the tool that sends them. The first match counts.
const TOOLS: &[(&str, &str)] = &[
    ("terraform", "Terraform"),
    ("opentofu", "OpenTofu"),
    ("pulumi", "Pulumi"),
    ("exec-env/cloudshell", "AWS CloudShell"),
    ("aws-cli/", "AWS CLI"),
    ("boto3/", "AWS SDK for Python (Boto3)"),
    ("botocore/", "AWS SDK for Python (botocore)"),
    ("aws-sdk-java", "AWS SDK for Java"),
    ("aws-sdk-go", "AWS SDK for Go"),
    ("aws-sdk-js", "AWS SDK for JavaScript"),
    ("aws-sdk-nodejs", "AWS SDK for JavaScript"),
    ("aws-sdk-rust", "AWS SDK for Rust"),
    ("aws-sdk-dotnet", "AWS SDK for .NET"),
    ("aws-sdk-ruby", "AWS SDK for Ruby"),
    ("aws-sdk-php", "AWS SDK for PHP"),
    ("awspowershell", "AWS Tools for PowerShell"),
    ("console.amazonaws.com", "AWS console"),
    ("signin.amazonaws.com", "AWS console"),
    ("aws-internal", "AWS console or another AWS client"),
    ("mozilla/", "a web browser"),
];

fn client(record: &Record) -> Client {
    if record.flag("sessionCredentialFromConsole") == Some(true) {
        return Client::Console;
    }
    if let Some(service) = record.str("userIdentity.invokedBy") {
        return Client::Service(one_line(service, MAX_NAME));
    }
    let Some(agent) = record.str("userAgent").map(str::to_lowercase) else {
        return Client::Unknown;
    };
    TOOLS
        .iter()
        .find(|(part, _)| agent.contains(part))
        .map_or(Client::Unknown, |(_, tool)| Client::Claimed(tool))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn actor(identity: Value) -> Actor {
        let mut fields = serde_json::Map::new();
        fields.insert("userIdentity".into(), identity);
        fields.insert("recipientAccountId".into(), "111122223333".into());
        Actor::of(&Record::new(0, fields))
    }

    #[test]
    fn descriptions_of_every_identity_type() {
        let issuer = json!({"type": "Role", "userName": "AdminRole", "accountId": "111122223333"});
        for (identity, description, short) in [
            (
                json!({"type": "Root", "accountId": "111122223333", "arn": "arn:aws:iam::111122223333:root"}),
                "the ROOT user of account 111122223333",
                "root",
            ),
            (
                json!({"type": "IAMUser", "userName": "alice", "accountId": "111122223333"}),
                "IAM user alice",
                "alice",
            ),
            (
                json!({"type": "IAMUser", "arn": "arn:aws:iam::111122223333:user/ops/alice"}),
                "IAM user alice",
                "alice",
            ),
            (
                json!({"type": "IAMUser", "userName": "alice", "accountId": "999988887777"}),
                "IAM user alice of account 999988887777",
                "999988887777/alice",
            ),
            (
                json!({"type": "IAMUser", "arn": "arn:aws:iam::999988887777:user/ops/alice"}),
                "IAM user alice of account 999988887777",
                "999988887777/alice",
            ),
            (
                json!({"type": "FederatedUser", "arn": "arn:aws:sts::999988887777:federated-user/Bob", "accountId": 999_988_887_777_u64}),
                "federated user Bob of account 999988887777",
                "999988887777/Bob",
            ),
            (
                json!({"type": "Root", "accountId": "999988887777"}),
                "the ROOT user of account 999988887777",
                "999988887777/root",
            ),
            (
                json!({"type": "AssumedRole", "arn": "arn:aws:sts::111122223333:assumed-role/AdminRole/ExampleSession",
                    "sessionContext": {"sessionIssuer": issuer}}),
                "role AdminRole (session ExampleSession)",
                "AdminRole/ExampleSession",
            ),
            (
                json!({"type": "AssumedRole", "arn": "arn:aws:sts::111122223333:assumed-role/AdminRole/ExampleSession",
                    "sessionContext": {"sessionIssuer": {}}}),
                "role AdminRole (session ExampleSession)",
                "AdminRole/ExampleSession",
            ),
            (
                json!({"type": "AssumedRole", "principalId": "AROAEXAMPLE:ExampleSession"}),
                "a role (not named in the record) (session ExampleSession)",
                "role/ExampleSession",
            ),
            (
                json!({"type": "AssumedRole", "accountId": "444455556666",
                    "arn": "arn:aws:sts::444455556666:assumed-role/AWSReservedSSO_Hsm_Admins_0123456789abcdef/alice@example.com"}),
                "IAM Identity Center permission set Hsm_Admins of account 444455556666 (session alice@example.com)",
                "444455556666/Hsm_Admins/alice@example.com",
            ),
            (
                json!({"type": "Role", "arn": "arn:aws:iam::111122223333:role/Batch"}),
                "role Batch",
                "Batch",
            ),
            (
                json!({"type": "FederatedUser", "arn": "arn:aws:sts::111122223333:federated-user/Bob",
                    "sessionContext": {"sessionIssuer": {"type": "IAMUser", "userName": "alice"}}}),
                "federated user Bob (session issued by IAM user alice)",
                "Bob",
            ),
            (
                json!({"type": "Directory", "userName": "bob"}),
                "directory user bob",
                "bob",
            ),
            (
                json!({"type": "AWSAccount", "accountId": "999988887777", "principalId": "AIDAEXAMPLE"}),
                "another AWS account, 999988887777 (principal AIDAEXAMPLE)",
                "account 999988887777",
            ),
            (
                json!({"type": "AWSService", "invokedBy": "cloudhsm.amazonaws.com"}),
                "the AWS service cloudhsm.amazonaws.com",
                "cloudhsm.amazonaws.com",
            ),
            (
                json!({"type": "IdentityCenterUser", "onBehalfOf": {"userId": "544894e8-80c1"}}),
                "IAM Identity Center user 544894e8-80c1",
                "544894e8-80c1",
            ),
            (
                json!({"type": "SAMLUser", "userName": "carol", "identityProvider": "corp"}),
                "SAML user carol of identity provider corp",
                "carol",
            ),
            (
                json!({"type": "WebIdentityUser", "userName": "dave", "identityProvider": "accounts.example.com"}),
                "web identity user dave of identity provider accounts[.]example[.]com",
                "dave",
            ),
            (
                json!({"type": "Unknown", "principalId": "x"}),
                "an identity that CloudTrail calls unknown, x",
                "x",
            ),
            (
                json!({"type": "Martian", "userName": "m"}),
                "m (identity type Martian)",
                "m",
            ),
            (
                json!({"type": 7}),
                "an identity (not named in the record)",
                "(not named in the record)",
            ),
            (
                json!("nobody"),
                "an identity (not named in the record)",
                "(not named in the record)",
            ),
            (
                json!({"invokedBy": "backup.amazonaws.com"}),
                "the AWS service backup.amazonaws.com",
                "backup.amazonaws.com",
            ),
        ] {
            let actor = actor(identity.clone());
            assert_eq!(
                (actor.description.as_str(), actor.short.as_str()),
                (description, short),
                "{identity}"
            );
        }
    }

    #[test]
    fn the_principal_is_the_identity_without_its_session() {
        let role = "444455556666 arn:aws:iam::444455556666:role/path/Admin";
        for (identity, expected) in [
            (
                json!({"type": "AssumedRole", "accountId": "444455556666", "principalId": "AROA:a", "arn": "arn:aws:sts::444455556666:assumed-role/Admin/a",
                    "sessionContext": {"sessionIssuer": {"arn": "arn:aws:iam::444455556666:role/path/Admin"}}}),
                role,
            ),
            (
                json!({"type": "AssumedRole", "arn": "arn:aws:sts::444455556666:assumed-role/Admin/b"}),
                " arn:aws:sts::444455556666:assumed-role/Admin",
            ),
            (
                json!({"type": "AssumedRole", "principalId": "AROA:c"}),
                " AROA",
            ),
            (
                json!({"type": "IAMUser", "arn": "arn:aws:iam::1:user/alice", "accountId": 1}),
                "000000000001 arn:aws:iam::1:user/alice",
            ),
            (
                json!({"type": "AWSAccount", "accountId": "999988887777", "principalId": "AIDA"}),
                "999988887777 AIDA",
            ),
            (
                json!({"type": "AWSService", "invokedBy": "x.amazonaws.com"}),
                " x.amazonaws.com",
            ),
            (json!({}), " "),
        ] {
            assert_eq!(actor(identity.clone()).principal, expected, "{identity}");
        }
    }

    #[test]
    fn a_service_event_has_no_identity() {
        let fields = serde_json::Map::from_iter([("eventType".into(), json!("AwsServiceEvent"))]);
        let actor = Actor::of(&Record::new(0, fields));
        assert_eq!(actor.description, "AWS itself (a service event)");
        assert_eq!(actor.kind_or_unknown(), "Unknown");
    }

    #[test]
    fn client_table() {
        for (record, expected) in [
            (
                json!({"sessionCredentialFromConsole": "true", "userAgent": "x"}),
                Client::Console,
            ),
            (
                json!({"userIdentity": {"invokedBy": "cloudformation.amazonaws.com"}, "userAgent": "cloudformation.amazonaws.com"}),
                Client::Service("cloudformation.amazonaws.com".into()),
            ),
            (
                json!({"userAgent": "aws-cli/2.31.0 md/awscrt#0.27"}),
                Client::Claimed("AWS CLI"),
            ),
            (
                json!({"userAgent": "APN/1.0 HashiCorp/1.0 Terraform/1.9 aws-sdk-go-v2/1.30"}),
                Client::Claimed("Terraform"),
            ),
            (json!({"userAgent": "curl/8"}), Client::Unknown),
            (json!({}), Client::Unknown),
        ] {
            let Value::Object(fields) = record.clone() else {
                unreachable!("objects above")
            };
            assert_eq!(
                Actor::of(&Record::new(0, fields)).client,
                expected,
                "{record}"
            );
        }
    }
}
