//! A master with two replicas, watched by three Sentinels.

use super::{Server, wait_for};
use crate::support::moved_clock::MovedClock;

/// The Sentinels' name of the master.
const MASTER_NAME: &str = "imquota";
/// The number of Sentinels that must agree that the master is down.
const QUORUM: usize = 2;
const SENTINELS: usize = 3;
const REPLICAS: usize = 2;

/// The silence after which a server counts as down, in milliseconds: longer than that of a live
/// server on a busy machine; and a value that is never reached.
const SOON_MS: u32 = 2500;
const NEVER_MS: u32 = 1_000_000_000;
/// Settings with which the master misses no replica, however far the clock is set.
const NEVER_DOWN: &[&str] = &["repl-timeout 2000000000"];

/// See the module's head.
pub struct Sentinels {
    /// The servers; the first one began as the master.
    pub servers: Vec<Server>,
    pub sentinels: Vec<Server>,
}

impl Sentinels {
    /// Starts a deployment; waits until every Sentinel has both replicas and the other Sentinels.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a deployment with further settings of master and replicas.
    pub fn start_with(extra: &[&str]) -> Self {
        Self::start_by(None, extra, SOON_MS)
    }

    /// Starts a deployment whose master and replicas use a fake time of day afterwards; the master
    /// is never replaced. The Sentinels use the real time.
    pub fn start_with_clock(clock: &MovedClock) -> Self {
        Self::start_by(Some(clock), NEVER_DOWN, NEVER_MS)
    }

    fn start_by(clock: Option<&MovedClock>, extra: &[&str], down_after_ms: u32) -> Self {
        let timely = ["repl-diskless-sync-delay 0", "repl-ping-replica-period 1"];
        let mut settings: Vec<&str> = timely.into_iter().chain(extra.iter().copied()).collect();
        let master = Server::start_by(clock, &settings);
        let of_master = format!("replicaof 127.0.0.1 {}", master.port());
        settings.push(&of_master);
        let mut servers = vec![master];
        servers.extend((0..REPLICAS).map(|_| Server::start_by(clock, &settings)));
        for replica in &servers[1..] {
            wait_until_in_sync(replica);
        }
        servers[0].wait_until_replicated(REPLICAS);
        let watch = format!(
            "bind 127.0.0.1\nprotected-mode no\n\
             sentinel monitor {MASTER_NAME} 127.0.0.1 {} {QUORUM}\n\
             sentinel down-after-milliseconds {MASTER_NAME} {down_after_ms}\n\
             sentinel failover-timeout {MASTER_NAME} 3000\n\
             sentinel parallel-syncs {MASTER_NAME} 2\n",
            servers[0].port()
        );
        let sentinels = (0..SENTINELS).map(|_| Server::sentinel(&watch)).collect();
        let started = Self { servers, sentinels };
        started.wait_until_acquainted();
        started
    }

    pub fn url(&self) -> String {
        let sentinels: Vec<String> = self.sentinels.iter().map(Server::address).collect();
        format!("redis-sentinel://{}/{MASTER_NAME}", sentinels.join(","))
    }

    /// The port of the master that all running Sentinels agree on.
    pub fn master(&self) -> u16 {
        wait_for("Sentinels that agree", || self.agreed_master())
    }

    /// The server at that port.
    pub fn server(&self, port: u16) -> &Server {
        let found = self.servers.iter().find(|server| server.port() == port);
        found.expect("one of the servers")
    }

    /// Kills the master; returns its port.
    pub fn kill_master(&self) -> u16 {
        let port = self.master();
        self.server(port).kill9();
        port
    }

    /// Stops the replication of the master's writes.
    pub fn cut_off_replicas(&self, master: u16) {
        self.replicas_of(master).for_each(Server::stop);
        // The replicas would still read bytes that were sent before.
        self.server(master).cli(&["CLIENT", "KILL", "TYPE", "replica"]);
    }

    pub fn resume_replicas(&self, master: u16) {
        self.replicas_of(master).for_each(Server::resume);
    }

    fn replicas_of(&self, master: u16) -> impl Iterator<Item = &Server> {
        self.servers.iter().filter(move |server| server.port() != master)
    }

    /// The port of the next master, once it serves and every Sentinel reports it. The old one is
    /// dead, frozen or cut off.
    pub fn wait_for_new_master(&self, old: u16) -> u16 {
        wait_for("another master", || {
            let port = self.agreed_master().filter(|port| *port != old)?;
            let role = self.server(port).info("replication", "role")?;
            (role == "master").then_some(port)
        })
    }

    /// Restarts a killed server as a replica, in sync, of the master that the Sentinels agree on.
    /// By themselves they would do that after eight seconds, or later without a processor.
    pub fn revive(&self, port: u16) {
        let revived = self.server(port);
        revived.restart();
        // On a busy machine another election may come in between.
        wait_for("the revived server to follow the master", || {
            let master = self.agreed_master()?;
            if master == port {
                return Some(());
            }
            let master = master.to_string();
            if revived.info("replication", "master_port").as_ref() != Some(&master) {
                revived.try_cli(&["REPLICAOF", "127.0.0.1", &master]).ok()?;
            }
            let link = revived.info("replication", "master_link_status")?;
            (link == "up").then_some(())
        });
    }

    fn agreed_master(&self) -> Option<u16> {
        let ask = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER_NAME];
        let mut named = self.sentinels.iter().filter(|one| one.is_running()).map(|one| {
            let answer = one.try_cli(&ask).ok()?;
            answer.lines().nth(1)?.parse::<u16>().ok()
        });
        let first = named.next()??;
        named.all(|other| other == Some(first)).then_some(first)
    }

    fn wait_until_acquainted(&self) {
        let wanted = [("num-slaves", REPLICAS), ("num-other-sentinels", SENTINELS - 1)]
            .map(|(name, n)| (name, n.to_string()));
        for sentinel in &self.sentinels {
            wait_for("Sentinels to have met", || {
                let fields = sentinel.try_cli(&["SENTINEL", "MASTER", MASTER_NAME]).ok()?;
                let lines: Vec<&str> = fields.lines().collect();
                let has = |(name, value): &(&str, String)| {
                    lines.chunks(2).any(|pair| pair == [*name, value.as_str()])
                };
                wanted.iter().all(has).then_some(())
            });
        }
    }
}

/// Waits until a server is a replica that follows its master.
pub(super) fn wait_until_in_sync(replica: &Server) {
    wait_for("a replica in sync", || {
        let link = replica.info("replication", "master_link_status")?;
        (link == "up").then_some(())
    });
}
