//! `bootstrap` in the Lambda Runtime Interface Emulator, invoked over HTTP.

use std::{
    net::{TcpListener, TcpStream},
    process::Command,
};

use serde_json::Value;

use crate::{
    fixtures::REGION,
    moto::Moto,
    process::{Process, peak_resident_kib, program, tool},
};

/// A running function that uses [`Moto`] as AWS.
pub struct Lambda {
    process: Process,
    address: String,
}

impl Lambda {
    /// Starts the function with these environment variables.
    pub fn start(aws: &Moto, variables: &[(&str, &str)]) -> Lambda {
        let [address, runtime_api] = [free_address(), free_address()];
        let mut command = Command::new(tool("rie"));
        command
            .args([
                "--log-level",
                "info",
                "--runtime-interface-emulator-address",
            ])
            .arg(&address)
            .arg("--runtime-api-address")
            .arg(&runtime_api)
            .arg(program("bootstrap"))
            .env_clear()
            .envs(variables.iter().copied())
            .env("AWS_LAMBDA_FUNCTION_NAME", "cloudhsm-alerts")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
            .env("AWS_LAMBDA_FUNCTION_TIMEOUT", "300")
            .env("AWS_REGION", REGION)
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("AWS_ENDPOINT_URL", &aws.endpoint);
        let process = Process::start(&mut command);
        process.wait_for("listening emulator", |_| TcpStream::connect(&address).ok());
        Lambda { process, address }
    }

    /// Invokes the function and returns its reply. The reply to a failed invocation is
    /// `{"errorType": …, "errorMessage": …}`.
    pub fn invoke(&self, payload: &Value) -> Value {
        self.invoke_raw(&payload.to_string())
    }

    /// Invokes the function with a payload that is sent byte by byte, valid JSON or not.
    pub fn invoke_raw(&self, payload: &str) -> Value {
        let url = format!(
            "http://{}/2015-03-31/functions/function/invocations",
            self.address
        );
        let mut response = ureq::post(url)
            .config()
            .http_status_as_error(false)
            .build()
            .send(payload)
            .unwrap_or_else(|error| panic!("{error}; output:\n{}", self.log()));
        let reply = response.body_mut().read_to_string().expect("UTF-8");
        serde_json::from_str(&reply)
            .unwrap_or_else(|error| panic!("{error}: {reply:?}; output:\n{}", self.log()))
    }

    /// What the emulator and the function have printed.
    pub fn log(&self) -> String {
        self.process.output()
    }

    /// The peak resident size of the function so far, in KiB.
    pub fn peak_resident_kib(&self) -> u64 {
        // The emulator starts the function in a new process group, but as its own child.
        let emulator = self.process.id().to_string();
        let found = Command::new("pgrep")
            .args(["-P", &emulator, "-x", "bootstrap"])
            .output()
            .expect("pgrep runs");
        let pid = String::from_utf8_lossy(&found.stdout).trim().to_owned();
        peak_resident_kib(pid.parse().expect("one bootstrap process"))
    }
}

/// An address on loopback whose port is free at the moment of the call.
fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
        .to_string()
}
