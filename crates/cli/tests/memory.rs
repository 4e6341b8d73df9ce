//! The memory that `scan` takes for log files of the largest size that CloudTrail delivers: 50 MB compressed, 370 MB
//! of JSON.

use std::{
    fs::File,
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
    thread,
};

use cloudhsm_alerts_test_support::{log_files::LogFiles, process::peak_resident_kib};

/// The files are named pipes: when all is written but the end, all is read, and the process still runs.
#[test]
fn the_largest_files_take_little_memory() {
    let folder = tempfile::tempdir().unwrap();
    let (content, _) = LogFiles::new(1).largest();
    let (last, rest) = content.split_last().unwrap();
    // One file, and several of which two are read at a time.
    for (count, limit_mib) in [(1, 48), (4, 64)] {
        let pipes: Vec<PathBuf> = (0..count)
            .map(|n| folder.path().join(format!("{count}/{n}.json.gz")))
            .collect();
        std::fs::create_dir(folder.path().join(count.to_string())).unwrap();
        let made = Command::new("mkfifo").args(&pipes).status().unwrap();
        assert!(made.success());
        let mut scan = Command::new(env!("CARGO_BIN_EXE_cloudhsm-alerts"))
            .args(["scan", "--jobs", "2", &count.to_string()])
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let peak = thread::scope(|scope| {
            let (last_pipe, pipes) = pipes.split_last().unwrap();
            let writers: Vec<_> = pipes
                .iter()
                .map(|pipe| {
                    let content = &content;
                    scope.spawn(move || File::create(pipe).unwrap().write_all(content))
                })
                .collect();
            let mut pipe = File::create(last_pipe).unwrap();
            pipe.write_all(rest).unwrap();
            for writer in writers {
                writer.join().unwrap().unwrap();
            }
            let peak = peak_resident_kib(scan.id());
            pipe.write_all(&[*last]).unwrap();
            peak
        });
        assert_eq!(scan.wait().unwrap().code(), Some(0));
        println!("peak resident size of {count} file(s): {peak} KiB");
        assert!(peak < limit_mib * 1024, "{count}: {peak} KiB");
    }
}
