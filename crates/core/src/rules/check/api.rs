//! What is known of AWS's APIs, for the checker: event sources, operations, and the names of members.
//!
//! The lists are written by scripts/aws_operations.py from AWS's own service models. They are as old as this
//! program: what AWS has added since is not in them, so that only the command line judges by them, and
//! never the function when it loads rules.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use serde::Deserialize;

/// Members of a record. Source: AWS CloudTrail User Guide, "CloudTrail record contents".
pub(in crate::rules) const RECORD_MEMBERS: &[&str] = &[
    "additionalEventData",
    "addendum",
    "apiVersion",
    "awsRegion",
    "edgeDeviceDetails",
    "errorCode",
    "errorMessage",
    "eventCategory",
    "eventContext",
    "eventID",
    "eventName",
    "eventSource",
    "eventTime",
    "eventType",
    "eventVersion",
    "insightDetails",
    "managementEvent",
    "readOnly",
    "recipientAccountId",
    "requestID",
    "requestParameters",
    "resources",
    "responseElements",
    "serviceEventDetails",
    "sessionCredentialFromConsole",
    "sharedEventID",
    "sourceIPAddress",
    "tlsDetails",
    "userAgent",
    "userIdentity",
    "vpcEndpointAccountId",
    "vpcEndpointId",
];

/// Members below `userIdentity`, at any depth.
/// Source: AWS CloudTrail User Guide, "CloudTrail userIdentity element".
pub(in crate::rules) const IDENTITY: &[&str] = &[
    "accessKeyId",
    "accountId",
    "arn",
    "attributes",
    "creationDate",
    "credentialsIssuedTo",
    "credentialId",
    "ec2RoleDelivery",
    "federatedProvider",
    "identityProvider",
    "identityStoreArn",
    "inScopeOf",
    "invokedBy",
    "invokedByDelegate",
    "issuerType",
    "mfaAuthenticated",
    "onBehalfOf",
    "principalId",
    "sessionContext",
    "sessionIssuer",
    "sourceAccount",
    "sourceArn",
    "sourceIdentity",
    "type",
    "userId",
    "userName",
    "webIdFederationData",
];

/// Event sources and operations of AWS.
#[derive(Debug, Deserialize)]
pub(in crate::rules) struct Api {
    /// Services whose operations are known, by event source.
    services: BTreeMap<String, Service>,
    /// Event sources of all services.
    event_sources: BTreeSet<String>,
}

#[derive(Debug, Deserialize)]
struct Service {
    operations: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    members: BTreeSet<String>,
}

static API: LazyLock<Option<Api>> =
    LazyLock::new(|| serde_json::from_str(include_str!("aws.json")).ok());

impl Api {
    /// The lists that this program was built with; `None` only if they were damaged, which a test rules out.
    pub(in crate::rules) fn known() -> Option<&'static Api> {
        API.as_ref()
    }

    /// Every event source there is.
    pub(in crate::rules) fn event_sources(&self) -> impl Iterator<Item = &str> {
        self.event_sources.iter().map(String::as_str)
    }

    /// Whether the operations of this event source are known.
    pub(in crate::rules) fn knows(&self, event_source: &str) -> bool {
        self.service(event_source).is_some()
    }

    /// The operations of an event source.
    pub(in crate::rules) fn operations(&self, event_source: &str) -> impl Iterator<Item = &str> {
        self.service(event_source)
            .into_iter()
            .flat_map(|service| service.operations.keys().map(String::as_str))
    }

    /// Whether a request or response of one of the operations has a member of this name, whatever its case;
    /// without operations, any of the event source.
    pub(in crate::rules) fn has_member(
        &self,
        event_source: &str,
        operations: &[&str],
        name: &str,
    ) -> bool {
        let is = |member: &String| member.eq_ignore_ascii_case(name);
        self.service(event_source).is_some_and(|service| {
            service.members.iter().any(is)
                || service
                    .operations
                    .iter()
                    .filter(|(operation, _)| {
                        operations.is_empty() || operations.contains(&operation.as_str())
                    })
                    .any(|(_, members)| members.iter().any(is))
        })
    }

    /// Every member name of these event sources.
    pub(in crate::rules) fn members<'a>(
        &'a self,
        event_sources: &'a [String],
    ) -> impl Iterator<Item = &'a str> {
        event_sources
            .iter()
            .filter_map(|source| self.service(source))
            .flat_map(|service| {
                service
                    .members
                    .iter()
                    .chain(service.operations.values().flatten())
            })
            .map(String::as_str)
    }

    fn service(&self, event_source: &str) -> Option<&Service> {
        // The trap: AWS's model names a second source, under which nothing is ever recorded.
        let source = event_source.to_ascii_lowercase();
        let source = if source == super::NEVER_RECORDED {
            super::RECORDED
        } else {
            &source
        };
        self.services.get(source)
    }
}

/// The member of a path below `userIdentity` that no record has there, with the nearest that one has.
pub(in crate::rules) fn misspelt_identity<'p>(
    path: impl Iterator<Item = &'p str>,
) -> Option<(&'p str, Option<&'static str>)> {
    let is = |known: &str, name: &str| known.eq_ignore_ascii_case(name);
    for name in path {
        if !IDENTITY.iter().any(|known| is(known, name)) {
            return Some((name, super::nearest(name, IDENTITY.iter().copied())));
        }
        // What an identity provider says of a person has names of its own.
        if is("webIdFederationData", name) {
            return None;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_are_whole() {
        let api = Api::known().unwrap();
        assert_eq!(api.services.len(), 16);
        assert!(api.event_sources().count() > 300);
        // 18 operations of the current API and 20 of Classic, of which CreateHsm and DeleteHsm have the same
        // names, and TagResource and UntagResource have not.
        assert_eq!(api.operations("cloudhsm.amazonaws.com").count(), 36);
        assert!(api.has_member("CloudHSM.amazonaws.com", &["DeleteBackup"], "backupid"));
        assert!(!api.has_member("cloudhsm.amazonaws.com", &["DeleteBackup"], "hsmId"));
        assert!(api.has_member(
            "kms.amazonaws.com",
            &["DisconnectCustomKeyStore"],
            "clusterId"
        ));
        assert!(!api.knows("signin.amazonaws.com"));
    }
}
