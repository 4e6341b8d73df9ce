//! AWS in memory, over HTTP, with faults: as much of S3, SNS and DynamoDB as the function uses, fast enough
//! for thousands of runs, and able to fail in every way a service can: with an error before or after it has
//! done what it was asked, by cutting the connection, in the middle of a body, or by never answering.
//!
//! moto proves that the requests are those that AWS understands; this proves what becomes of calls when
//! AWS does not do what it should.

mod http;
pub mod plan;
pub mod runtime;
mod services;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard},
};

use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

pub use plan::{Fault, Plan};

/// What a request asks for. Each is about one thing: a key, an event ID, or the event IDs of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    GetObject,
    Claim,
    Publish,
    Sent,
    Release,
    Turn,
    GetItem,
    /// Taking a page, or giving it back.
    Page,
}

/// One request, known by what it asks for and how often that was asked before: not by when it came, so that
/// the same schedule makes the same faults however fast the machine is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Call {
    pub operation: Operation,
    pub about: String,
    /// From 0.
    pub time: u32,
}

/// One published message.
#[derive(Debug, Clone)]
pub struct Message {
    pub subject: String,
    pub body: Value,
    pub attributes: BTreeMap<String, (String, String)>,
    /// The calls that it tells.
    pub event_ids: Vec<String>,
    /// Bytes that SNS counts.
    pub bytes: usize,
}

/// All there is.
#[derive(Default)]
pub struct World {
    pub objects: HashMap<String, Vec<u8>>,
    /// DynamoDB's own JSON of each item, by id.
    pub items: BTreeMap<String, Value>,
    pub messages: Vec<Message>,
    /// The time of the next free turn after each one that was taken, in milliseconds.
    pub turns: Vec<i64>,
    /// Every request, in order, with the fault it met and the headers of the request.
    pub calls: Vec<(Call, Fault)>,
    pub headers: Vec<HashMap<String, String>>,
    times: HashMap<(Operation, String), u32>,
    /// Requests whose sender was gone before it was answered, though nothing was to go wrong.
    pub late: Vec<Call>,
}

impl World {
    /// How often each call was told.
    pub fn told(&self) -> BTreeMap<String, usize> {
        let mut told = BTreeMap::new();
        for id in self.messages.iter().flat_map(|message| &message.event_ids) {
            *told.entry(id.clone()).or_default() += 1;
        }
        told
    }

    /// Time passes: every claim has expired.
    pub fn expire_claims(&mut self) {
        for item in self.items.values_mut() {
            if item["status"]["S"] == "claimed" {
                item["claimed_until"]["N"] = "1".into();
            }
        }
    }
}

/// What is going on, as seen from the outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    Running,
    /// A request is held: whoever sent it is to be killed now.
    Held,
}

struct Shared {
    world: Mutex<World>,
    plan: Mutex<Plan>,
    progress: watch::Sender<Progress>,
}

/// The services on a port of their own.
pub struct Stub {
    pub endpoint: String,
    shared: Arc<Shared>,
    /// Ends every connection with this value.
    _connections: JoinSet<()>,
}

impl Stub {
    pub async fn start(plan: Plan) -> Stub {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("its address"));
        let shared = Arc::new(Shared {
            world: Mutex::default(),
            plan: Mutex::new(plan),
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

    pub fn world(&self) -> MutexGuard<'_, World> {
        self.shared.world.lock().expect("no holder panics")
    }

    /// From now on other faults.
    pub fn plan(&self, plan: Plan) {
        *self.shared.plan.lock().expect("no holder panics") = plan;
        self.shared.progress.send_replace(Progress::Running);
    }

    /// Waits until a request is held.
    pub async fn held(&self) {
        let mut progress = self.shared.progress.subscribe();
        progress
            .wait_for(|progress| *progress == Progress::Held)
            .await
            .expect("the sender lives as long as the stub");
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let mut connection = http::Connection::new(stream);
    while let Some(request) = connection.request().await {
        let target = services::target(&request);
        let (call, fault) = {
            let mut world = shared.world.lock().expect("no holder panics");
            let time = world
                .times
                .entry((target.operation, target.about.clone()))
                .or_default();
            let call = Call {
                operation: target.operation,
                about: target.about.clone(),
                time: *time,
            };
            *time += 1;
            let fault = shared.plan.lock().expect("no holder panics").fault(&call);
            world.calls.push((call.clone(), fault));
            world.headers.push(request.headers.clone());
            (call, fault)
        };
        let answer = match fault {
            Fault::None
            | Fault::CutBody
            | Fault::CutBodyAndReplace
            | Fault::After(_)
            | Fault::CutAfter
            | Fault::HangAfter
            | Fault::HoldAfter => {
                let mut world = shared.world.lock().expect("no holder panics");
                services::answer(&request, &target, &mut world)
            }
            Fault::Before(_) | Fault::CutBefore | Fault::HangBefore | Fault::HoldBefore => {
                http::Answer::default()
            }
        };
        match fault {
            Fault::None => {
                if connection.is_gone() {
                    shared
                        .world
                        .lock()
                        .expect("no holder panics")
                        .late
                        .push(call);
                    return;
                }
                if !connection.answer(&answer, answer.body.len()).await {
                    return;
                }
            }
            Fault::Before(kind) | Fault::After(kind) => {
                let answer = services::failure(target.operation, kind);
                if !connection.answer(&answer, answer.body.len()).await {
                    return;
                }
            }
            Fault::CutBodyAndReplace => {
                {
                    let mut world = shared.world.lock().expect("no holder panics");
                    let other = br#"{"Records": []}"#.to_vec();
                    world.objects.insert(call.about, other);
                }
                connection.answer(&answer, answer.body.len() / 2).await;
                return;
            }
            Fault::CutBody => {
                connection.answer(&answer, answer.body.len() / 2).await;
                return;
            }
            Fault::CutBefore | Fault::CutAfter => return,
            Fault::HangBefore | Fault::HangAfter => return connection.wait_until_gone().await,
            Fault::HoldBefore | Fault::HoldAfter => {
                shared.progress.send_replace(Progress::Held);
                return connection.wait_until_gone().await;
            }
        }
    }
}

/// A call to CloudHSM with an event ID.
pub fn call(event_name: &str, event_id: &str) -> Value {
    json!({
        "eventVersion": "1.11",
        "userIdentity": {"type": "IAMUser", "userName": "alice", "accountId": "111122223333"},
        "eventTime": "2026-11-23T03:50:00Z",
        "eventSource": "cloudhsm.amazonaws.com",
        "eventName": event_name,
        "awsRegion": "us-west-2",
        "requestParameters": {"clusterId": "cluster-lk3jhgf4dsa"},
        "eventID": event_id,
        "recipientAccountId": "111122223333",
    })
}
