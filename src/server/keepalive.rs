//! Probes of silent TCP connections by the system.
//!
//! HTTP/2 has PINGs of its own; over HTTP/1.1 a peer that has vanished would keep a stream of
//! events, and with it a connection, until the next event could not be delivered.

use tokio::net::TcpStream;

/// Sets the probes of a connection: the first after a minute of silence, and three in all, so that
/// a connection whose peer has vanished is closed within two minutes.
#[cfg(target_os = "linux")]
pub(super) fn probe_silent(stream: &TcpStream) -> std::io::Result<()> {
    use std::time::Duration;

    use rustix::net::sockopt;

    /// Silence before the first probe.
    const IDLE: Duration = Duration::from_secs(60);
    /// Time between two probes.
    const INTERVAL: Duration = Duration::from_secs(20);
    /// Probes without an answer after which the connection is closed.
    const COUNT: u32 = 3;

    sockopt::set_tcp_keepidle(stream, IDLE)?;
    sockopt::set_tcp_keepintvl(stream, INTERVAL)?;
    sockopt::set_tcp_keepcnt(stream, COUNT)?;
    Ok(sockopt::set_socket_keepalive(stream, true)?)
}

/// Elsewhere the age of a connection is the bound.
#[cfg(not(target_os = "linux"))]
pub(super) fn probe_silent(_: &TcpStream) -> std::io::Result<()> {
    Ok(())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rustix::net::sockopt;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_vanished_peer_is_detected_within_two_minutes() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let stream = TcpStream::connect(address).await.expect("it listens");
        probe_silent(&stream).expect("set");
        assert!(sockopt::socket_keepalive(&stream).expect("read"));
        let idle = sockopt::tcp_keepidle(&stream).expect("read");
        let interval = sockopt::tcp_keepintvl(&stream).expect("read");
        let count = sockopt::tcp_keepcnt(&stream).expect("read");
        assert!(idle + interval * count <= std::time::Duration::from_secs(120));
    }
}
