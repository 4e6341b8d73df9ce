//! The stub's HTTP server: decides on a fault and a latency for each request, and carries them out.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

use super::{
    faults::{Fault, FaultPlan},
    request::Operation,
    services,
    state::State,
};
use crate::{
    clock,
    http::{Connection, Response},
};

/// How long a request takes, by operation.
pub type Latency = fn(Operation) -> Duration;

/// Whether a request is being held, so that the test can kill its sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Running,
    Held,
}

struct Shared {
    state: Mutex<State>,
    faults: Mutex<FaultPlan>,
    latency: Mutex<Latency>,
    progress: watch::Sender<Progress>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }
}

/// A running stub. Dropping it closes all connections.
pub struct Stub {
    pub endpoint: String,
    shared: Arc<Shared>,
    connections: JoinSet<()>,
}

impl Stub {
    pub async fn start(faults: FaultPlan) -> Stub {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            faults: Mutex::new(faults),
            latency: Mutex::new(|_| Duration::ZERO),
            progress: watch::Sender::new(Progress::Running),
        });
        let (endpoint, connections) = listen(&shared).await;
        Stub {
            endpoint,
            shared,
            connections,
        }
    }

    /// Drops all connections, and the requests that were sent on them and not handled yet, as if their senders had
    /// been killed before. The stub keeps its state and has a new endpoint.
    pub async fn drop_connections(&mut self) {
        self.connections.shutdown().await;
        (self.endpoint, self.connections) = listen(&self.shared).await;
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }

    /// Replaces the fault plan.
    pub fn set_faults(&self, faults: FaultPlan) {
        *self.shared.faults.lock().expect("no holder panics") = faults;
        self.shared.progress.send_replace(Progress::Running);
    }

    /// Delays every request before it takes effect.
    pub fn set_latency(&self, latency: Latency) {
        *self.shared.latency.lock().expect("no holder panics") = latency;
    }

    /// Waits for a request with [`Fault::HoldBefore`] or [`Fault::HoldAfter`].
    pub async fn wait_until_held(&self) {
        let mut progress = self.shared.progress.subscribe();
        progress
            .wait_for(|progress| *progress == Progress::Held)
            .await
            .expect("the sender lives as long as the stub");
    }
}

/// Accepts connections on a port of its own until the returned set is dropped.
async fn listen(shared: &Arc<Shared>) -> (String, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("its address"));
    let accepting = Arc::clone(shared);
    let mut accepted = JoinSet::new();
    accepted.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            connections.spawn(serve(stream, Arc::clone(&accepting)));
            while connections.try_join_next().is_some() {}
        }
    });
    (endpoint, accepted)
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let mut connection = Connection::new(stream);
    while let Some(request) = connection.request().await {
        let arrival = clock::now();
        let parsed = services::parse(&request);
        let (key, fault, index) = {
            let mut state = shared.state();
            let key = state.next_attempt(parsed.operation, &parsed.target);
            let fault = shared.faults.lock().expect("no holder panics").fault(&key);
            state.requests.push((key.clone(), fault));
            state.headers.push(request.headers.clone());
            state.arrivals.push(arrival);
            state.responses.push(None);
            (key, fault, state.requests.len() - 1)
        };
        let latency = *shared.latency.lock().expect("no holder panics");
        let delay = latency(parsed.operation);
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let response = match fault {
            Fault::None
            | Fault::CutBody
            | Fault::CutBodyAndReplace
            | Fault::After(_)
            | Fault::CutAfter
            | Fault::HangAfter
            | Fault::HoldAfter => services::handle(&request, &parsed, &mut shared.state()),
            Fault::Unprocessed => services::handle_half(&request, &parsed, &mut shared.state()),
            Fault::Before(_) | Fault::CutBefore | Fault::HangBefore | Fault::HoldBefore => {
                Response::default()
            }
        };
        match fault {
            Fault::None | Fault::Unprocessed => {
                if connection.is_closed() {
                    shared.state().abandoned.push(key);
                    return;
                }
                if !connection.send(&response).await {
                    return;
                }
                shared.state().responses[index] = Some(clock::now());
            }
            Fault::Before(kind) | Fault::After(kind) => {
                let error = services::error_response(parsed.operation, kind);
                if !connection.send(&error).await {
                    return;
                }
            }
            Fault::CutBodyAndReplace => {
                let other = br#"{"Records": []}"#.to_vec();
                shared.state().objects.insert(key.target, other);
                connection
                    .send_part(&response, response.body.len() / 2)
                    .await;
                return;
            }
            Fault::CutBody => {
                connection
                    .send_part(&response, response.body.len() / 2)
                    .await;
                return;
            }
            Fault::CutBefore | Fault::CutAfter => return,
            Fault::HangBefore | Fault::HangAfter => return connection.wait_until_closed().await,
            Fault::HoldBefore | Fault::HoldAfter => {
                shared.progress.send_replace(Progress::Held);
                return connection.wait_until_closed().await;
            }
        }
    }
}
