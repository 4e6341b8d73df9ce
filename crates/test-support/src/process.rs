//! Processes that tests start: the programs of this project, and the tools that `make tools` installs.
//!
//! A program or tool that is missing fails the test. No test is skipped for that.

use std::{
    io::{BufRead, BufReader, Read},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

/// The root folder of the project.
pub fn project_folder() -> &'static Path {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    // This crate is in crates/test-support.
    folder.ancestors().nth(2).expect("two folders above")
}

/// The path of a program of this project, such as `bootstrap`.
///
/// Cargo passes the paths of programs (`CARGO_BIN_EXE_…`) only to tests of the same package, so this looks in
/// the folder above that of the running test.
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("path of the running test");
    let folder = test.ancestors().nth(2).expect("target/PROFILE/deps/TEST");
    let program = folder.join(name);
    assert!(
        program.exists(),
        "{} is missing: run `cargo build --workspace`",
        program.display()
    );
    program
}

/// The path of an installed tool, relative to `target/tools`.
pub fn tool(path: &str) -> PathBuf {
    let tool = project_folder().join("target/tools").join(path);
    assert!(
        tool.exists(),
        "{} is missing: run `make tools`",
        tool.display()
    );
    tool
}

/// Runs the command line in a folder, with an empty environment.
pub fn run_cli(arguments: &[&str], folder: &Path) -> Output {
    Command::new(program("cloudhsm-alerts"))
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .output()
        .expect("the program starts")
}

/// Exit code, standard output and standard error.
pub fn decode_output(output: &Output) -> (Option<i32>, String, String) {
    let decode = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    (
        output.status.code(),
        decode(&output.stdout),
        decode(&output.stderr),
    )
}

/// The peak resident size of a process so far in KiB, as Linux reports it (`VmHWM`).
pub fn peak_resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))
        .unwrap_or_else(|error| panic!("process {pid}: {error}"));
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok())
        .expect("VmHWM in kB")
}

/// The processor time of a process so far, of user and system, as Linux reports it: in hundredths of a second.
pub(crate) fn processor_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .unwrap_or_else(|error| panic!("process {pid}: {error}"));
    // The name of the program, in brackets, may contain spaces. User and system time are the 12th and 13th after it.
    let (_, fields) = stat.rsplit_once(')').expect("a name");
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks
        .map(|ticks| ticks.parse::<u64>().expect("a number"))
        .sum();
    Duration::from_millis(ticks * 10)
}

/// A server in the background. Dropping it kills the process and all its children.
pub(crate) struct Process {
    child: Child,
    output: Arc<Mutex<String>>,
}

impl Process {
    /// Starts a program in a new process group and collects what it prints.
    pub(crate) fn start(command: &mut Command) -> Process {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let output = Arc::new(Mutex::new(String::new()));
        let streams: [Option<Box<dyn Read + Send>>; 2] = [
            child.stdout.take().map(|stream| Box::new(stream) as _),
            child.stderr.take().map(|stream| Box::new(stream) as _),
        ];
        for stream in streams.into_iter().flatten() {
            let output = Arc::clone(&output);
            thread::spawn(move || {
                for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                    let mut output = output.lock().expect("no holder panics");
                    output.push_str(&String::from_utf8_lossy(&line));
                    output.push('\n');
                }
            });
        }
        Process { child, output }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What the process has printed so far.
    pub(crate) fn output(&self) -> String {
        self.output.lock().expect("no holder panics").clone()
    }

    /// Polls until `check`, which is given the output so far, returns a value. Panics with the output after 30
    /// seconds.
    pub(crate) fn wait_for<T>(&self, what: &str, mut check: impl FnMut(&str) -> Option<T>) -> T {
        for _ in 0..1200 {
            if let Some(value) = check(&self.output()) {
                return value;
            }
            thread::sleep(Duration::from_millis(25));
        }
        panic!("no {what} within 30 seconds; output:\n{}", self.output());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.child.wait();
    }
}
