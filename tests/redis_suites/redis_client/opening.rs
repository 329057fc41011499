//! Usual mistakes in the configuration, each refused with its own message.

use imquota::redis::client::{Client, OpenError};
use imquota::redis::options::{Address, Options, Topology};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::servers::{Server, free_port};
use super::{WAIT_MAX, at, count, options, scripts, standalone};

async fn refused(options: Options) -> OpenError {
    match Client::open(options, scripts()).await {
        Ok(_) => panic!("it was opened"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn a_server_without_reply_is_named() {
    let error = refused(standalone(free_port())).await;
    assert!(matches!(error, OpenError::Unreachable { .. }), "{error}");
    let hung = Server::start(&[]);
    hung.signal("-STOP");
    let mut options = standalone(hung.port);
    options.connect_timeout = std::time::Duration::from_millis(300);
    let error = refused(options).await;
    assert!(error.to_string().contains("no answer within 300 ms"), "{error}");
}

#[tokio::test]
async fn a_replica_names_its_master() {
    let master = Server::start(&[]);
    let port = master.port.to_string();
    let replica = Server::start(&["--replicaof", "127.0.0.1", &port]);
    let error = refused(standalone(replica.port)).await;
    let sentence = format!("is a replica of 127.0.0.1:{port}");
    assert!(error.to_string().contains(&sentence), "{error}");
}

#[tokio::test]
async fn passwords_and_permissions() {
    let server = Server::start(&["--requirepass", "secret"]);
    let error = refused(standalone(server.port)).await;
    assert!(matches!(error, OpenError::Credentials { .. }), "{error}");
    let mut elsewhere =
        options(Topology::Standalone { address: Address::Tcp(at(server.port)), database: 3 });
    let error = refused(elsewhere.clone()).await;
    assert!(matches!(error, OpenError::Credentials { .. }), "{error}");
    elsewhere.credentials.password = Some("wrong".to_owned());
    let error = refused(elsewhere.clone()).await;
    assert!(matches!(error, OpenError::Credentials { .. }), "{error}");
    assert!(!format!("{error} {elsewhere:?}").contains("wrong"), "{error}");

    elsewhere.credentials.password = Some("secret".to_owned());
    let client = Client::open(elsewhere.clone(), scripts()).await.expect("opened");
    assert_eq!(count(&client, "k", WAIT_MAX).await, Ok(1));
    assert!(server.cli(&["-a", "secret", "INFO", "keyspace"]).contains("db3:keys=1"));

    let rules = ["ACL", "SETUSER", "weak", "on", ">w", "~*", "+info", "+select"];
    server.cli(&[["-a", "secret"].as_slice(), &rules].concat());
    elsewhere.credentials.username = Some("weak".to_owned());
    elsewhere.credentials.password = Some("w".to_owned());
    let error = refused(elsewhere.clone()).await;
    assert!(matches!(error, OpenError::Forbidden { .. }), "{error}");

    // The required permissions, without a warning about settings.
    let rules = ["ACL", "SETUSER", "weak", "+script|load", "+role", "+ping", "+evalsha", "+incr"];
    server.cli(&[["-a", "secret"].as_slice(), &rules].concat());
    let client = Client::open(elsewhere, scripts()).await.expect("opened");
    assert_eq!(count(&client, "k", WAIT_MAX).await, Ok(2));
}

#[tokio::test]
async fn a_unix_socket_is_an_address_too() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let path = folder.path().join("redis.sock");
    let _server = Server::start(&["--unixsocket", path.to_str().expect("plain")]);
    let topology = Topology::Standalone { address: Address::Unix(path), database: 0 };
    let client = Client::open(options(topology), scripts()).await.expect("opened");
    assert_eq!(count(&client, "k", WAIT_MAX).await, Ok(1));
}

/// A proxy that replaces the server's version by one of Redis 6.
async fn made_older(server: u16) -> u16 {
    const VERSION: &[u8] = b"redis_version:";
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(("127.0.0.1", server)).await.expect("it runs");
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
            tokio::spawn(async move {
                let mut chunk = vec![0; 64 * 1024];
                while let Ok(bytes @ 1..) = from_server.read(&mut chunk).await {
                    let found = chunk.windows(VERSION.len()).position(|part| part == VERSION);
                    if let Some(place) = found {
                        chunk[place + VERSION.len()] = b'6';
                    }
                    to_client.write_all(&chunk[..bytes]).await.expect("the client reads");
                }
            });
        }
    });
    port
}

#[tokio::test]
async fn a_redis_that_is_too_old_is_named() {
    let server = Server::start(&[]);
    let older = made_older(server.port).await;
    let error = refused(standalone(older)).await.to_string();
    assert!(error.contains("Redis 6.") && error.contains("7.0 or newer"), "{error}");
    // A server that is compatible with Redis is named by its own name.
    let info = server.cli(&["INFO", "server"]);
    let own = info.lines().find_map(|line| line.trim_end().strip_prefix("valkey_version:"));
    if let Some(own) = own {
        assert!(error.contains(&format!(" is valkey {own} (compatible with ")), "{error}");
    }
}
