//! Lambda's Runtime API for one `bootstrap`, so that a test can kill the real program in the middle of an
//! invocation, and say how long an invocation has.

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

use crate::aws::program;

use super::http::{Answer, Connection};

pub const TRACE: &str =
    "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";

/// The real `bootstrap`, as a process that ends with this value.
pub struct Bootstrap {
    child: Child,
    payloads: mpsc::Sender<(String, Duration)>,
    replies: mpsc::Receiver<Value>,
    log: Arc<Mutex<String>>,
    _tasks: JoinSet<()>,
}

impl Bootstrap {
    pub async fn start(endpoint: &str, variables: &[(&str, &str)]) -> Bootstrap {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address").to_string();
        let (payloads, waiting) = mpsc::channel(1);
        let (answers, replies) = mpsc::channel(1);
        let waiting = Arc::new(AsyncMutex::new(waiting));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&waiting), answers.clone()));
            }
        });
        let mut child = Command::new(program("bootstrap"))
            .env_clear()
            .env("AWS_LAMBDA_RUNTIME_API", address)
            .env("AWS_LAMBDA_FUNCTION_NAME", "cloudhsm-alerts")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512")
            .env("AWS_REGION", "us-west-2")
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
            payloads,
            replies,
            log,
            _tasks: tasks,
        }
    }

    /// Begins an invocation that has so much time.
    pub async fn begin(&self, payload: &Value, time: Duration) {
        self.payloads
            .send((payload.to_string(), time))
            .await
            .expect("the runtime lives");
    }

    /// The reply; a failure is `{"errorType": …, "errorMessage": …}`.
    pub async fn reply(&mut self) -> Value {
        tokio::select! {
            reply = self.replies.recv() => reply.expect("the runtime lives"),
            status = self.child.wait() => panic!("bootstrap ended with {status:?}; log:\n{}", self.log()),
        }
    }

    pub async fn invoke(&mut self, payload: &Value) -> Value {
        self.begin(payload, Duration::from_secs(300)).await;
        self.reply().await
    }

    /// Kills it with SIGKILL.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("killed");
    }

    pub fn log(&self) -> String {
        self.log.lock().expect("no holder panics").clone()
    }

    /// The lines of its log that are JSON, those of metrics and others.
    pub fn lines(&self) -> Vec<Value> {
        self.log()
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// Its largest resident size so far, in KiB, as Linux counts it.
    pub fn peak_resident_kib(&self) -> u64 {
        let pid = self.child.id().expect("it runs");
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok())
            .expect("VmHWM in kB")
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

type Waiting = Arc<AsyncMutex<mpsc::Receiver<(String, Duration)>>>;

async fn serve(stream: TcpStream, waiting: Waiting, answers: mpsc::Sender<Value>) {
    let mut connection = Connection::new(stream);
    while let Some(request) = connection.request().await {
        let mut answer = Answer {
            status: 202,
            ..Answer::default()
        };
        if request.path.ends_with("/invocation/next") {
            let Some((payload, time)) = waiting.lock().await.recv().await else {
                return;
            };
            #[expect(clippy::disallowed_methods, reason = "this plays Lambda")]
            let now = SystemTime::now();
            let deadline = (now + time).duration_since(UNIX_EPOCH).expect("after 1970");
            answer.status = 200;
            answer.headers = vec![
                ("Lambda-Runtime-Aws-Request-Id", "request-1".into()),
                (
                    "Lambda-Runtime-Deadline-Ms",
                    deadline.as_millis().to_string(),
                ),
                ("Lambda-Runtime-Trace-Id", TRACE.into()),
                (
                    "Lambda-Runtime-Invoked-Function-Arn",
                    "arn:aws:lambda:us-west-2:111122223333:function:cloudhsm-alerts".into(),
                ),
            ];
            answer.body = payload.into_bytes();
        } else {
            let reply = serde_json::from_slice(&request.body).expect("JSON");
            if answers.send(reply).await.is_err() {
                return;
            }
        }
        if !connection.answer(&answer, answer.body.len()).await {
            return;
        }
    }
}
