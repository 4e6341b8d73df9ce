//! The stub's HTTP server: decides on a fault for each request, and carries it out.

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
    services,
    state::State,
};
use crate::http::{Connection, Response};

/// Whether a request is being held, so that the test can kill its sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Running,
    Held,
}

struct Shared {
    state: Mutex<State>,
    faults: Mutex<FaultPlan>,
    latency: Mutex<Duration>,
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
    _connections: JoinSet<()>,
}

impl Stub {
    pub async fn start(faults: FaultPlan) -> Stub {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("its address"));
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            faults: Mutex::new(faults),
            latency: Mutex::default(),
            progress: watch::Sender::new(Progress::Running),
        });
        let mut connections = JoinSet::new();
        let accepting = Arc::clone(&shared);
        connections.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                connections.spawn(serve(stream, Arc::clone(&accepting)));
                while connections.try_join_next().is_some() {}
            }
        });
        Stub {
            endpoint,
            shared,
            _connections: connections,
        }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }

    /// Replaces the fault plan.
    pub fn set_faults(&self, faults: FaultPlan) {
        *self.shared.faults.lock().expect("no holder panics") = faults;
        self.shared.progress.send_replace(Progress::Running);
    }

    /// Makes each response wait this long, for benches.
    pub fn set_latency(&self, latency: Duration) {
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

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let mut connection = Connection::new(stream);
    while let Some(request) = connection.request().await {
        let parsed = services::parse(&request);
        let (key, fault) = {
            let mut state = shared.state();
            let key = state.next_attempt(parsed.operation, &parsed.target);
            let fault = shared.faults.lock().expect("no holder panics").fault(&key);
            state.requests.push((key.clone(), fault));
            state.headers.push(request.headers.clone());
            (key, fault)
        };
        let latency = *shared.latency.lock().expect("no holder panics");
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        let response = match fault {
            Fault::None
            | Fault::CutBody
            | Fault::CutBodyAndReplace
            | Fault::After(_)
            | Fault::CutAfter
            | Fault::HangAfter
            | Fault::HoldAfter => services::handle(&request, &parsed, &mut shared.state()),
            Fault::Before(_) | Fault::CutBefore | Fault::HangBefore | Fault::HoldBefore => {
                Response::default()
            }
        };
        match fault {
            Fault::None => {
                if connection.is_closed() {
                    shared.state().abandoned.push(key);
                    return;
                }
                if !connection.send(&response).await {
                    return;
                }
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
