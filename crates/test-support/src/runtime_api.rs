//! The Lambda Runtime API, served to one `bootstrap` process. A test can set the deadline of an invocation and
//! kill the process in the middle of it, which the Runtime Interface Emulator does not allow. A bench sees when each
//! step took place.

use std::{
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    net::{TcpListener, TcpStream},
    process::{Child, Command},
    sync::{Mutex as AsyncMutex, mpsc, watch},
    task::JoinSet,
};

use crate::{
    clock,
    fixtures::REGION,
    http::{Connection, Response},
    process::{peak_resident_kib, processor_time, program},
};

/// The X-Ray trace header of every invocation.
pub const TRACE_HEADER: &str =
    "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";

/// When the steps of a `bootstrap` took place.
#[derive(Debug, Clone)]
pub struct Times {
    /// The process was about to be started.
    pub start: Instant,
    /// It requested an invocation.
    pub polls: Vec<Instant>,
    /// An invocation was handed over.
    pub invocations: Vec<Instant>,
    /// The reply to it arrived.
    pub replies: Vec<Instant>,
}

/// A running `bootstrap`. Dropping it kills the process.
pub struct Bootstrap {
    child: Child,
    invocations: mpsc::Sender<Invocation>,
    replies: mpsc::Receiver<Value>,
    times: watch::Receiver<Times>,
    log: Arc<Mutex<String>>,
    collectors: JoinSet<()>,
    _server: JoinSet<()>,
}

impl Bootstrap {
    /// Starts the `bootstrap` that was built together with the running test.
    pub async fn start(endpoint: &str, variables: &[(&str, &str)]) -> Bootstrap {
        Bootstrap::start_program(&program("bootstrap"), endpoint, variables).await
    }

    /// Starts any build of `bootstrap`.
    pub async fn start_program(
        program: &Path,
        endpoint: &str,
        variables: &[(&str, &str)],
    ) -> Bootstrap {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address").to_string();
        let (invocations, pending) = mpsc::channel(1);
        let (sent_replies, replies) = mpsc::channel(1);
        let (sent_times, times) = watch::channel(Times {
            start: clock::now(),
            polls: Vec::new(),
            invocations: Vec::new(),
            replies: Vec::new(),
        });
        let lambda = Arc::new(Lambda {
            invocations: AsyncMutex::new(pending),
            replies: sent_replies,
            times: sent_times,
        });
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                connections.spawn(serve(stream, Arc::clone(&lambda)));
            }
        });
        let mut child = Command::new(program)
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
        let mut collectors = JoinSet::new();
        collectors.spawn(collect(stdout, Arc::clone(&log)));
        collectors.spawn(collect(stderr, Arc::clone(&log)));
        Bootstrap {
            child,
            invocations,
            replies,
            times,
            log,
            collectors,
            _server: server,
        }
    }

    /// Waits until the process requests an invocation, and none is handed over.
    pub async fn wait_until_idle(&mut self) {
        let mut times = self.times.clone();
        let is_idle = |times: &Times| times.polls.len() > times.invocations.len();
        tokio::select! {
            idle = times.wait_for(is_idle) => drop(idle.expect("the Runtime API is running")),
            status = self.child.wait() => panic!("bootstrap ended with {status:?}; log:\n{}", self.log()),
        }
    }

    pub fn times(&self) -> Times {
        self.times.borrow().clone()
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

    /// Sends SIGKILL and waits for the process to end.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("killed");
    }

    /// Kills the process and returns all that it has logged.
    pub async fn into_log(mut self) -> String {
        self.child.kill().await.expect("killed");
        while self.collectors.join_next().await.is_some() {}
        self.log()
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

    /// The process ID.
    pub fn id(&self) -> u32 {
        self.child.id().expect("bootstrap is running")
    }

    /// The peak resident size of the process so far, in KiB.
    pub fn peak_resident_kib(&self) -> u64 {
        peak_resident_kib(self.id())
    }

    /// The processor time of the process so far.
    pub fn processor_time(&self) -> Duration {
        processor_time(self.id())
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

/// What the connections of a process share.
struct Lambda {
    invocations: AsyncMutex<mpsc::Receiver<Invocation>>,
    replies: mpsc::Sender<Value>,
    times: watch::Sender<Times>,
}

async fn serve(stream: TcpStream, lambda: Arc<Lambda>) {
    let mut connection = Connection::new(stream);
    while let Some(request) = connection.request().await {
        let now = clock::now();
        let mut response = Response {
            status: 202,
            ..Response::default()
        };
        if request.path.ends_with("/invocation/next") {
            lambda.times.send_modify(|times| times.polls.push(now));
            let Some((payload, timeout)) = lambda.invocations.lock().await.recv().await else {
                return;
            };
            response = invocation(payload, timeout);
            let now = clock::now();
            lambda
                .times
                .send_modify(|times| times.invocations.push(now));
        } else {
            lambda.times.send_modify(|times| times.replies.push(now));
            let reply = serde_json::from_slice(&request.body).expect("JSON");
            if lambda.replies.send(reply).await.is_err() {
                return;
            }
        }
        if !connection.send(&response).await {
            return;
        }
    }
}

/// The response that hands over an invocation.
fn invocation(payload: String, timeout: Duration) -> Response {
    #[expect(
        clippy::disallowed_methods,
        reason = "the deadline is a wall clock time"
    )]
    let now = SystemTime::now();
    let deadline = (now + timeout)
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    Response {
        status: 200,
        headers: vec![
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
        ],
        body: payload.into_bytes(),
    }
}
