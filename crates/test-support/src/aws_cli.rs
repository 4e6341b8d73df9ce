//! The AWS CLI's commands: whether a command that the project prints is one of them.
//!
//! The parameters are those of botocore's service models, from which the AWS CLI makes its own; `make operations` writes
//! them to a file for the commands that occur in the rules, in the core and in the report. No command is run.

use std::{collections::BTreeSet, sync::LazyLock};

use serde_json::{Map, Value};

/// Options of every command, with a value each.
const GLOBAL: [&str; 5] = [
    "--region",
    "--query",
    "--output",
    "--max-items",
    "--cli-input-json",
];
/// Options that the AWS CLI has beside those of the model. Source: AWS CLI Command Reference.
const ADDED: [(&str, &str); 5] = [
    ("authorize-security-group-ingress", "--protocol"),
    ("authorize-security-group-ingress", "--port"),
    ("authorize-security-group-ingress", "--source-group"),
    ("create-function", "--zip-file"),
    ("subscribe", "--notification-endpoint"),
];

/// Keys of `--filters`, which the models have in prose only. Source: AWS CloudHSM API Reference.
const FILTERS: [(&str, &[&str]); 2] = [
    (
        "describe-backups",
        &[
            "backupIds",
            "sourceBackupIds",
            "clusterIds",
            "states",
            "neverExpires",
        ],
    ),
    ("describe-clusters", &["clusterIds", "vpcIds", "states"]),
];

static KNOWN: LazyLock<Map<String, Value>> =
    LazyLock::new(
        || match serde_json::from_str(include_str!("commands.json")) {
            Ok(Value::Object(known)) => known,
            other => unreachable!("{other:?}"),
        },
    );

/// The words of a command, as a shell takes it apart.
fn words(command: &str) -> Result<Vec<String>, String> {
    let mut words: Vec<String> = Vec::new();
    let (mut quote, mut is_in_word) = (None, false);
    for c in command.chars() {
        match (quote, c) {
            (None, ' ') => is_in_word = false,
            (None, '\'' | '"') => {
                quote = Some(c);
                if !is_in_word {
                    words.push(String::new());
                }
                is_in_word = true;
            }
            (None, '$' | '`' | ';' | '&' | '|' | '<' | '>' | '(' | ')' | '\\' | '*' | '?') => {
                return Err(format!("{c} outside of quotes"));
            }
            (Some(open), _) if c == open => quote = None,
            _ => {
                if !is_in_word {
                    words.push(String::new());
                }
                is_in_word = true;
                if let Some(word) = words.last_mut() {
                    word.push(c);
                }
            }
        }
    }
    match quote {
        None => Ok(words),
        Some(open) => Err(format!("no closing {open}")),
    }
}

/// The names in `Name=value,Name={…}`, without those in braces.
fn shorthand_names(value: &str) -> Vec<String> {
    let mut depth = 0_usize;
    let parts = value.split(|c| {
        match c {
            '{' | '[' => depth += 1,
            '}' | ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    });
    parts
        .filter_map(|part| part.split_once('='))
        .map(|(name, _)| name.to_owned())
        .collect()
}

/// Whether a value has the members that the model knows: as JSON, or in the AWS CLI's shorthand syntax.
fn check_value(value: &str, form: &Value) -> Result<(), String> {
    let (Value::Object(members), false) = (form, value.starts_with("file://")) else {
        return Ok(());
    };
    if value == "{}" {
        return Ok(());
    }
    let names: Vec<String> = match serde_json::from_str::<Value>(value) {
        Ok(Value::Object(fields)) => fields.keys().cloned().collect(),
        Ok(Value::Array(items)) => items
            .iter()
            .filter_map(Value::as_object)
            .flat_map(|fields| fields.keys().cloned())
            .collect(),
        _ => shorthand_names(value),
    };
    match names.iter().find(|name| !members.contains_key(*name)) {
        Some(unknown) => Err(format!("{unknown} is no member")),
        None if names.is_empty() => Err(format!("{value} names no member")),
        None => Ok(()),
    }
}

/// Checks a command as the AWS CLI would: its name, its parameters and their values, and that nothing in it is the
/// shell's.
///
/// # Errors
/// What the AWS CLI does not know.
pub fn check(command: &str) -> Result<(), String> {
    // The output may go to a file.
    let words = words(command.split(" > ").next().unwrap_or_default())?;
    let [_, service, operation, arguments @ ..] = words.as_slice() else {
        return Err("expected a service and a command".into());
    };
    if service == "s3" || operation == "validate-logs" {
        return Ok(()); // Not made from a model.
    }
    let parameters = KNOWN
        .get(&format!("{service} {operation}"))
        .and_then(Value::as_object)
        .ok_or("is not in commands.json: run `make operations`")?;
    let mut given = BTreeSet::new();
    let mut rest = arguments;
    while let [option, after @ ..] = rest {
        let Some(name) = option.strip_prefix("--") else {
            // The file that the object is written to.
            if operation == "get-object" && after.is_empty() {
                break;
            }
            return Err(format!("{option} is no option"));
        };
        let end = after
            .iter()
            .position(|word| word.starts_with("--"))
            .unwrap_or(after.len());
        let last = end == after.len() && operation == "get-object";
        let (values, next) = after.split_at(if last { 1 } else { end });
        rest = next;
        let is_added = ADDED.contains(&(operation.as_str(), option.as_str()));
        if option == "--zip-file" {
            given.insert("code"); // It is a part of it.
        }
        if GLOBAL.contains(&option.as_str()) || is_added {
            if values.len() != 1 {
                return Err(format!("{option} has {} values", values.len()));
            }
            continue;
        }
        let form = |name: &str| {
            parameters
                .get(name)
                .or_else(|| parameters.get(&format!("{name}!")))
        };
        let is_boolean = |form: &&Value| **form == "boolean";
        let negated = || form(name.strip_prefix("no-")?).filter(is_boolean);
        let form = form(name)
            .or_else(negated)
            .ok_or_else(|| format!("{option} is no parameter"))?;
        given.insert(name.strip_prefix("no-").unwrap_or(name));
        let is_count_right = match form {
            Value::String(kind) if kind == "boolean" => values.is_empty(),
            Value::String(kind) if kind == "map" => !values.is_empty(),
            Value::String(_) => values.len() == 1,
            _ => !values.is_empty(),
        };
        if !is_count_right {
            return Err(format!("{option} has {} values", values.len()));
        }
        let form = form.get(0).unwrap_or(form);
        let filters = FILTERS.iter().find(|(command, _)| command == operation);
        for value in values {
            if let (Some((_, keys)), "--filters", Some((key, _))) =
                (filters, option.as_str(), value.split_once('='))
                && !keys.contains(&key)
            {
                return Err(format!("{option}: {key} is no filter"));
            }
            check_value(value, form).map_err(|error| format!("{option}: {error}"))?;
        }
    }
    let missing = parameters
        .keys()
        .filter_map(|name| name.strip_suffix('!'))
        .find(|name| !given.contains(name));
    let missing = missing.filter(|_| !command.contains(" --cli-input-json "));
    missing.map_or(Ok(()), |name| Err(format!("--{name} is missing")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_rejects_what_the_aws_cli_rejects() {
        for (command, expected) in [
            (
                "aws cloudhsmv2 restore-backup --region r --backup-id b",
                Ok(()),
            ),
            (
                "aws cloudhsmv2 restore-backup --region r",
                Err("--backup-id is missing"),
            ),
            (
                "aws cloudhsmv2 restore-backup --backup b",
                Err("--backup is no parameter"),
            ),
            (
                "aws cloudhsmv2 restore-backups --backup-id b",
                Err("is not in commands.json: run `make operations`"),
            ),
            (
                "aws cloudhsmv2 restore-backup --backup-id $(id)",
                Err("$ outside of quotes"),
            ),
            (
                "aws cloudhsmv2 restore-backup --backup-id 'b",
                Err("no closing '"),
            ),
            (
                "aws cloudhsmv2 modify-backup-attributes --backup-id b --no-never-expires",
                Ok(()),
            ),
            (
                "aws cloudhsmv2 modify-backup-attributes --backup-id b --never-expires true",
                Err("--never-expires has 1 values"),
            ),
            (
                "aws cloudhsmv2 modify-cluster --cluster-id c --backup-retention-policy Type=DAYS,Values=9",
                Err("--backup-retention-policy: Values is no member"),
            ),
            (
                "aws cloudhsmv2 describe-backups --filters sourceBackupIds=b",
                Ok(()),
            ),
            (
                "aws cloudhsmv2 describe-backups --filters sourceBackupId=b",
                Err("--filters: sourceBackupId is no filter"),
            ),
            ("aws s3api get-object --bucket b --key k x.json.gz", Ok(())),
            ("aws s3api get-object --bucket b x y", Err("x y")),
        ] {
            let found = check(command);
            if command.ends_with(" x y") {
                assert!(found.is_err(), "{command}");
                continue;
            }
            assert_eq!(found, expected.map_err(str::to_owned), "{command}");
        }
    }
}
