//! The master that Sentinels name: asked for again and again, and replaced at once.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::{Notify, watch};

use super::connect::{ConnectError, Connector};
use super::node::Node;
use super::pace::{self, Deadline, Task};
use super::{link, reply};
use crate::ledger::redis::options::{Address, HostPort};

/// How often the Sentinels are asked when nothing seems wrong; their messages come sooner.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How long one of them may take before the next one is asked.
const SENTINEL_PATIENCE: Duration = Duration::from_millis(500);
/// Where Sentinels tell of a new master.
const SWITCH: &str = "+switch-master";

/// What a Sentinel said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Named {
    /// The master is there.
    Master(HostPort),
    /// It has not heard of the name.
    Unknown,
}

/// The master, whichever it is.
pub(super) struct Watched {
    master: watch::Receiver<Arc<Node>>,
    alarm: Arc<Notify>,
    _tasks: [Task; 2],
}

impl Watched {
    /// Starts with that master, and keeps asking.
    pub(super) fn new(
        connector: &Arc<Connector>,
        sentinels: Vec<HostPort>,
        name: String,
        master: HostPort,
    ) -> Self {
        let alarm = Arc::new(Notify::new());
        let node = Node::new(Address::Tcp(master), connector, &alarm);
        let (sender, receiver) = watch::channel(node);
        let asking =
            follow(Arc::clone(connector), sentinels.clone(), name, sender, Arc::clone(&alarm));
        let listening = listen(Arc::clone(connector), sentinels, Arc::clone(&alarm));
        Self { master: receiver, alarm, _tasks: [Task::spawn(asking), Task::spawn(listening)] }
    }

    /// The master as far as is known.
    pub(super) fn master(&self) -> Arc<Node> {
        Arc::clone(&self.master.borrow())
    }

    /// Something is wrong with the master: has the Sentinels asked at once.
    pub(super) fn doubt(&self) {
        self.master().distrust();
        self.alarm.notify_one();
    }
}

/// Asks one Sentinel for the master.
pub(super) async fn lookup(
    connector: &Connector,
    sentinel: &HostPort,
    name: &str,
    patience: Duration,
) -> Result<Named, ConnectError> {
    let deadline = Deadline::after(patience);
    let connection = tokio::time::timeout(patience, connector.sentinel(sentinel)).await;
    let connection = connection.map_err(|_| ConnectError::Late(patience))??;
    let command = redis::cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(name).to_owned();
    let answer = link::ask(&connection, &command, deadline).await?;
    let [host, port] = reply::elements(&answer) else { return Ok(Named::Unknown) };
    match (reply::text(host), reply::number(port)) {
        (Some(host), Some(port)) => Ok(Named::Master(HostPort { host, port })),
        _ => Ok(Named::Unknown),
    }
}

async fn follow(
    connector: Arc<Connector>,
    sentinels: Vec<HostPort>,
    name: String,
    master: watch::Sender<Arc<Node>>,
    alarm: Arc<Notify>,
) {
    let mut turn = 0;
    loop {
        // A Sentinel that keeps naming a server which is gone or demoted is not asked next.
        let _ = tokio::time::timeout(ASK_EVERY, alarm.notified()).await;
        let Some(sentinel) = sentinels.get(turn % sentinels.len().max(1)) else { return };
        match lookup(&connector, sentinel, &name, SENTINEL_PATIENCE).await {
            Ok(Named::Master(found)) => {
                let node = Arc::clone(&master.borrow());
                let found = Address::Tcp(found);
                if node.address != found {
                    tracing::info!(from = %node.address, to = %found, "the Redis master changed");
                    master.send_replace(Node::new(found, &connector, &alarm));
                } else if !node.is_up() {
                    turn += 1;
                }
            }
            Ok(Named::Unknown) => turn += 1,
            Err(why) => {
                tracing::debug!(%sentinel, reason = %why, "a Sentinel gave no answer");
                turn += 1;
            }
        }
        // Alarms come as fast as attempts fail; Sentinels need not hear of each.
        tokio::time::sleep(pace::pause(2)).await;
    }
}

/// Rings the alarm at every change that a Sentinel tells of.
async fn listen(connector: Arc<Connector>, sentinels: Vec<HostPort>, alarm: Arc<Notify>) {
    for sentinel in sentinels.iter().cycle() {
        if let Ok(client) = connector.sentinel_client(sentinel) {
            let subscribing = async {
                let mut messages = client.get_async_pubsub().await?;
                messages.subscribe(SWITCH).await?;
                Ok::<_, redis::RedisError>(messages)
            };
            let patience = connector.options.connect_timeout;
            if let Ok(Ok(mut messages)) = tokio::time::timeout(patience, subscribing).await {
                // What was told before is not repeated.
                alarm.notify_one();
                let mut messages = messages.on_message();
                while messages.next().await.is_some() {
                    alarm.notify_one();
                }
            }
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}
