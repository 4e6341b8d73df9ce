//! The Lambda Runtime API, served to one `bootstrap` process. A test can set the deadline of an invocation and
//! kill the process in the middle of it, which the Runtime Interface Emulator does not allow.

use std::{
    process::Stdio,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    net::{TcpListener, TcpStream},
    process::{Child, Command},
    sync::{Mutex as AsyncMutex, mpsc},
    task::JoinSet,
};

use crate::{
    fixtures::REGION,
    http::{Connection, Response},
    process::{peak_resident_kib, program},
};

/// The X-Ray trace header of every invocation.
pub const TRACE_HEADER: &str =
    "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";

/// A running `bootstrap`. Dropping it kills the process.
pub struct Bootstrap {
    child: Child,
    invocations: mpsc::Sender<Invocation>,
    replies: mpsc::Receiver<Value>,
    log: Arc<Mutex<String>>,
    _tasks: JoinSet<()>,
}

impl Bootstrap {
    pub async fn start(endpoint: &str, variables: &[(&str, &str)]) -> Bootstrap {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address").to_string();
        let (invocations, pending) = mpsc::channel(1);
        let (sent_replies, replies) = mpsc::channel(1);
        let pending = Arc::new(AsyncMutex::new(pending));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&pending), sent_replies.clone()));
            }
        });
        let mut child = Command::new(program("bootstrap"))
            .env_clear()
            .env("AWS_LAMBDA_RUNTIME_API", address)
            .env("AWS_LAMBDA_FUNCTION_NAME", "cloudhsm-alerts")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512")
            .env("AWS_REGION", REGION)
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("AWS_ENDPOINT_URL", endpoint)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("bootstrap starts");
        let log = Arc::new(Mutex::new(String::new()));
        let stdout = child.stdout.take().expect("piped");
        let stderr = child.stderr.take().expect("piped");
        tasks.spawn(collect(stdout, Arc::clone(&log)));
        tasks.spawn(collect(stderr, Arc::clone(&log)));
        Bootstrap {
            child,
            invocations,
            replies,
            log,
            _tasks: tasks,
        }
    }

    /// Starts an invocation whose deadline is `timeout` from now.
    pub async fn start_invocation(&self, payload: &Value, timeout: Duration) {
        self.invocations
            .send((payload.to_string(), timeout))
            .await
            .expect("the Runtime API is running");
    }

    /// Waits for the reply. The reply to a failed invocation is `{"errorType": …, "errorMessage": …}`.
    pub async fn reply(&mut self) -> Value {
        tokio::select! {
            reply = self.replies.recv() => reply.expect("the Runtime API is running"),
            status = self.child.wait() => panic!("bootstrap ended with {status:?}; log:\n{}", self.log()),
        }
    }

    /// Invokes the function, with five minutes until the deadline, and returns its reply.
    pub async fn invoke(&mut self, payload: &Value) -> Value {
        self.start_invocation(payload, Duration::from_secs(300))
            .await;
        self.reply().await
    }

    /// The ID of the process.
    pub fn id(&self) -> u32 {
        self.child.id().expect("bootstrap is running")
    }

    /// Sends SIGKILL and waits for the process to end.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("killed");
    }

    pub fn log(&self) -> String {
        self.log.lock().expect("no holder panics").clone()
    }

    /// The JSON lines of the log, metrics included.
    pub fn log_lines(&self) -> Vec<Value> {
        self.log()
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// The peak resident size of the process so far, in KiB.
    pub fn peak_resident_kib(&self) -> u64 {
        peak_resident_kib(self.id())
    }
}

async fn collect(stream: impl AsyncRead + Unpin, log: Arc<Mutex<String>>) {
    let mut lines = BufReader::new(stream).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let mut log = log.lock().expect("no holder panics");
        log.push_str(&line);
        log.push('\n');
    }
}

/// Payload and time until the deadline.
type Invocation = (String, Duration);

type Invocations = Arc<AsyncMutex<mpsc::Receiver<Invocation>>>;

async fn serve(stream: TcpStream, invocations: Invocations, replies: mpsc::Sender<Value>) {
    let mut connection = Connection::new(stream);
    while let Some(request) = connection.request().await {
        let mut response = Response {
            status: 202,
            ..Response::default()
        };
        if request.path.ends_with("/invocation/next") {
            let Some((payload, timeout)) = invocations.lock().await.recv().await else {
                return;
            };
            #[expect(
                clippy::disallowed_methods,
                reason = "the deadline is a wall clock time"
            )]
            let now = SystemTime::now();
            let deadline = (now + timeout)
                .duration_since(UNIX_EPOCH)
                .expect("after 1970");
            response.status = 200;
            response.headers = vec![
                ("Lambda-Runtime-Aws-Request-Id", "request-1".into()),
                (
                    "Lambda-Runtime-Deadline-Ms",
                    deadline.as_millis().to_string(),
                ),
                ("Lambda-Runtime-Trace-Id", TRACE_HEADER.into()),
                (
                    "Lambda-Runtime-Invoked-Function-Arn",
                    "arn:aws:lambda:us-west-2:111122223333:function:cloudhsm-alerts".into(),
                ),
            ];
            response.body = payload.into_bytes();
        } else {
            let reply = serde_json::from_slice(&request.body).expect("JSON");
            if replies.send(reply).await.is_err() {
                return;
            }
        }
        if !connection.send(&response).await {
            return;
        }
    }
}
