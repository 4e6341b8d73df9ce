//! Quotas: a process gets the share of a processor and the memory that Lambda gives a function of a size. They are
//! Linux's control groups, in version 1 or 2, and need the rights of root. What Lambda limits in other ways (network,
//! disk) is not limited.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// With this much memory a function has one processor. Source: AWS Lambda Developer Guide, "Configure Lambda function
/// memory".
const MEGABYTES_OF_ONE_PROCESSOR: u64 = 1769;
/// In which the share of a processor is measured, in microseconds. Short, so that figures depend on the processor time
/// that is used, and hardly on where in a period an invocation begins.
const PERIOD: u64 = 20_000;

/// The control groups of one process. Dropping them removes them, which succeeds once the process has ended.
#[derive(Debug)]
pub struct Quota {
    folders: Vec<PathBuf>,
}

impl Quota {
    /// Limits a running process as Lambda limits a function with this memory.
    ///
    /// # Errors
    /// Control groups are missing here, or may not be used.
    pub fn apply(process: u32, megabytes: u64) -> io::Result<Quota> {
        let share = (PERIOD * megabytes / MEGABYTES_OF_ONE_PROCESSOR).to_string();
        let period = PERIOD.to_string();
        let bytes = (megabytes << 20).to_string();
        let root = Path::new("/sys/fs/cgroup");
        let mut quota = Quota {
            folders: Vec::new(),
        };
        if root.join("cgroup.controllers").exists() {
            fs::write(root.join("cgroup.subtree_control"), "+cpu +memory")?;
            let cpu = format!("{share} {period}");
            quota.add(root, process, &[("cpu.max", &cpu), ("memory.max", &bytes)])?;
        } else {
            let cpu = [
                ("cpu.cfs_period_us", period.as_str()),
                ("cpu.cfs_quota_us", &share),
            ];
            quota.add(&root.join("cpu"), process, &cpu)?;
            let memory = [("memory.limit_in_bytes", bytes.as_str())];
            quota.add(&root.join("memory"), process, &memory)?;
        }
        Ok(quota)
    }

    /// Makes a group, sets its limits, and moves the process into it.
    fn add(&mut self, parent: &Path, process: u32, limits: &[(&str, &str)]) -> io::Result<()> {
        let folder = parent.join(format!("cloudhsm-alerts-{process}"));
        fs::create_dir(&folder)?;
        self.folders.push(folder.clone());
        for (name, limit) in limits {
            fs::write(folder.join(name), limit)?;
        }
        fs::write(folder.join("cgroup.procs"), process.to_string())
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        for folder in &self.folders {
            let _ = fs::remove_dir(folder);
        }
    }
}
