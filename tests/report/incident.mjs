// Records of an incident: a cluster, a copy, a shared backup, deletions of which some are undone, refused calls.

const CLUSTER = "cluster-lk3jhgf4dsa";
const NEW_CLUSTER = "cluster-2qazxsw3edc";
const BACKUP = "backup-zxc7vbn2mas";
const SECOND = "backup-pl2okm3ijn4";
const PURGED = "backup-3wsx4edc5rf";
const KEY = "1234abcd-12ab-34cd-56ef-1234567890ab";

const ROLES = { alice: "HsmAdmin", mallory: "OrganizationAccountAccessRole" };
const ADDRESSES = { alice: "203.0.113.7", mallory: "198.51.100.9" };

function identity(who) {
  if (who === "cloudhsm") return { type: "AWSService", invokedBy: "cloudhsm.amazonaws.com" };
  return {
    type: "AssumedRole",
    principalId: `AROAX2QK7M4VTEXAMPLE:${who}`,
    arn: `arn:aws:sts::111122223333:assumed-role/${ROLES[who]}/${who}`,
    accountId: "111122223333",
    accessKeyId: `ASIAEXAMPLE${who.toUpperCase()}`,
    sessionContext: { attributes: { mfaAuthenticated: String(who === "alice"), creationDate: "2026-11-23T02:00:00Z" } },
  };
}

export function incident() {
  const records = [];
  const add = (who, time, eventName, requestParameters, responseElements = null, more = {}) =>
    records.push({
      eventVersion: "1.11",
      userIdentity: identity(who),
      eventTime: time,
      eventSource: "cloudhsm.amazonaws.com",
      eventName,
      awsRegion: "us-west-2",
      sourceIPAddress: ADDRESSES[who] ?? "cloudhsm.amazonaws.com",
      userAgent: who === "mallory" ? "Boto3/1.40.21" : "aws-cli/2.31.0",
      requestParameters,
      responseElements,
      eventID: `id-${String(records.length + 1).padStart(4, "0")}`,
      eventType: "AwsApiCall",
      recipientAccountId: "111122223333",
      ...more,
    });
  const backup = (backupId, deleteTimestamp) => ({ backup: { backupId, clusterId: CLUSTER, createTimestamp: "Nov 22, 2026, 2:07:51 AM", deleteTimestamp } });
  const denied = { errorCode: "AccessDenied", errorMessage: "User is not authorized to perform this" };

  add("alice", "2026-10-20T09:00:00Z", "CreateCluster", { hsmType: "hsm1.medium" }, { cluster: { clusterId: CLUSTER } });
  add("alice", "2026-10-20T09:20:00Z", "CreateHsm", { clusterId: CLUSTER }, { hsm: { hsmId: "hsm-qwe5rty6uio", clusterId: CLUSTER } });
  add("alice", "2026-10-20T09:40:00Z", "InitializeCluster", { clusterId: CLUSTER });
  add("alice", "2026-11-02T10:00:00Z", "ModifyCluster", { clusterId: CLUSTER, hsmType: "hsm2m.medium" }, { cluster: { clusterId: CLUSTER, hsmTypeRollbackExpiration: "Nov 3, 2026, 10:00:00 AM" } });
  add("cloudhsm", "2026-11-10T02:00:00Z", "DeleteBackup", { backupId: PURGED }, backup(PURGED, "Nov 17, 2026, 2:00:00 AM"));
  add("mallory", "2026-11-23T03:36:00Z", "DescribeClusters", null);
  add("mallory", "2026-11-23T03:38:10Z", "StopLogging", { name: "organization-trail" }, null, { eventSource: "cloudtrail.amazonaws.com", ...denied });
  add("mallory", "2026-11-23T03:40:00Z", "CopyBackupToRegion", { backupId: BACKUP, destinationRegion: "eu-central-1" }, { destinationBackup: { sourceRegion: "us-west-2", sourceBackup: BACKUP, sourceCluster: CLUSTER } });
  add("mallory", "2026-11-23T03:40:40Z", "PutResourcePolicy", {
    resourceArn: `arn:aws:cloudhsm:us-west-2:111122223333:backup/${BACKUP}`,
    policy: JSON.stringify({ Version: "2012-10-17", Statement: [{ Effect: "Allow", Principal: { AWS: "arn:aws:iam::444455556666:root" }, Action: "cloudhsm:DescribeBackups" }] }),
  });
  add("mallory", "2026-11-23T03:41:09Z", "DeleteBackup", { backupId: BACKUP }, backup(BACKUP, "Nov 30, 2026, 3:41:09 AM"));
  add("mallory", "2026-11-23T03:42:31Z", "DeleteBackup", { backupId: SECOND }, null, denied);
  add("mallory", "2026-11-23T03:43:00Z", "DeleteHsm", { clusterId: CLUSTER, hsmId: "hsm-qwe5rty6uio" }, { hsmId: "hsm-qwe5rty6uio" });
  add("mallory", "2026-11-23T03:43:20Z", "DeleteBackup", { backupId: SECOND }, backup(SECOND, "Nov 30, 2026, 3:43:20 AM"));
  add("mallory", "2026-11-23T03:44:00Z", "DisconnectCustomKeyStore", { customKeyStoreId: "cks-1234567890abcdef0" }, null, { eventSource: "kms.amazonaws.com", additionalEventData: { clusterId: CLUSTER } });
  add("mallory", "2026-11-23T03:44:30Z", "ScheduleKeyDeletion", { keyId: KEY, pendingWindowInDays: 7 }, { keyId: `arn:aws:kms:us-west-2:111122223333:key/${KEY}`, deletionDate: "Nov 30, 2026, 3:44:30 AM" }, { eventSource: "kms.amazonaws.com" });
  add("mallory", "2026-11-23T03:47:35Z", "ModifyCluster", { clusterId: CLUSTER, backupRetentionPolicy: { type: "DAYS", value: "3" } }, null, { errorCode: "CloudHsmInvalidRequestException", errorMessage: "The value must be at least 7" });
  add("alice", "2026-11-23T05:10:00Z", "RestoreBackup", { backupId: SECOND }, { backup: { backupId: SECOND, clusterId: CLUSTER, backupState: "READY" } });
  add("alice", "2026-11-23T05:30:00Z", "CreateCluster", { sourceBackupId: SECOND, hsmType: "hsm2m.medium" }, { cluster: { clusterId: NEW_CLUSTER, sourceBackupId: SECOND } });
  add("alice", "2026-11-23T05:32:00Z", "CreateHsm", { clusterId: NEW_CLUSTER }, { hsm: { hsmId: "hsm-mnb3vcx4zlk", clusterId: NEW_CLUSTER } });
  add("alice", "2026-11-23T05:33:00Z", "TagResource", { resourceId: NEW_CLUSTER, tagList: [{ key: "owner", value: "payments" }] });
  return records;
}

/** The same records with this text in every field that does not decide which rules match. */
export function hostile(records, text) {
  const kept = new Set(["eventSource", "eventName", "eventTime", "eventVersion", "eventType", "type", "errorCode", "eventID", "mfaAuthenticated", "recipientAccountId", "pendingWindowInDays", "invokedBy", "policy"]);
  const change = (value, name) => {
    if (Array.isArray(value)) return value.map((item) => change(item, name));
    if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, change(inner, key)]));
    return typeof value === "string" && !kept.has(name) ? text : value;
  };
  return records.map((record) => change(record));
}
