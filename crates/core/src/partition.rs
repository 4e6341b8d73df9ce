//! The partition of AWS that a region belongs to, as ARNs begin with it. An ARN in a record is more certain.

/// The partition of a region. Regions without a public console, and unknown ones, count as the standard partition.
/// Source: AWS General Reference, "Amazon Resource Names (ARNs)".
pub(crate) fn of_region(region: &str) -> &'static str {
    match region {
        region if region.starts_with("cn-") => "aws-cn",
        region if region.starts_with("us-gov-") => "aws-us-gov",
        region if region.starts_with("eusc-") => "aws-eusc",
        _ => "aws",
    }
}
