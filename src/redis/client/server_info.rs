//! The information that a server returns for `INFO`: servers compatible with Redis use other names
//! for the fields, and managed ones leave some out.

use redis::aio::MultiplexedConnection;

use super::connect::{ConnectError, Connector};
use super::retry::Deadline;
use super::{connection, reply};
use crate::redis::options::Address;

/// The reply to `INFO`; empty if the server has no such command.
pub(super) struct ServerInfo(String);

impl ServerInfo {
    /// Queries a server. If the command is renamed or disabled, there are no fields.
    pub(super) async fn read(
        connector: &Connector,
        connection: &MultiplexedConnection,
    ) -> Result<Self, ConnectError> {
        let deadline = Deadline::after(connector.options.connect_timeout);
        match connection::query(connection, &redis::cmd("INFO"), deadline).await {
            Ok(info) => Ok(Self(reply::text(&info).unwrap_or_default())),
            Err(why) if reply::unknown_command(&why.to_string()).is_some() => {
                Ok(Self(String::new()))
            }
            Err(why) => Err(why),
        }
    }

    /// Returns a field, if the server reports it.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        reply::field(&self.0, name)
    }

    /// Returns `standalone`, `cluster` or `sentinel`, from the field of Redis or of Valkey.
    pub(super) fn mode(&self) -> Option<&str> {
        self.field("redis_mode").or_else(|| self.field("server_mode"))
    }

    /// Returns the major version of Redis, or of the Redis that the server is compatible with.
    pub(super) fn redis_major(&self) -> Option<u32> {
        self.field("redis_version")?.split('.').next()?.parse().ok()
    }

    /// Returns name and version, as `Redis 7.0.15` or `valkey 8.1.1 (compatible with Redis 7.2.4)`.
    pub(super) fn version(&self) -> Option<String> {
        let redis = self.field("redis_version")?;
        let name = self.field("server_name");
        let own = name.and_then(|name| Some((name, self.field(&format!("{name}_version"))?)));
        Some(match own {
            Some((name, own)) if name != "redis" => {
                format!("{name} {own} (compatible with Redis {redis})")
            }
            _ => format!("Redis {redis}"),
        })
    }

    /// Logs name and version, and warns of missing fields.
    pub(super) fn log(&self, address: &Address) {
        if let Some(version) = self.version() {
            tracing::info!(server = %address, version, "server of the store");
        } else {
            tracing::warn!(
                server = %address,
                "cannot check the version of the server: INFO has no redis_version; make sure \
                 that it is compatible with Redis 7.0 or newer"
            );
        }
        if self.mode().is_none() {
            tracing::warn!(
                server = %address,
                "cannot check whether the server is in cluster mode: INFO has no redis_mode; make \
                 sure that --store has the scheme for it (redis:// or redis-cluster://)"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(fields: &[&str]) -> ServerInfo {
        ServerInfo(format!("# Server\r\n{}\r\n", fields.join("\r\n")))
    }

    #[test]
    fn version_and_mode_are_read_under_either_name() {
        let redis = info(&["redis_version:7.0.15", "redis_mode:cluster"]);
        assert_eq!(redis.version().as_deref(), Some("Redis 7.0.15"));
        assert_eq!((redis.mode(), redis.redis_major()), (Some("cluster"), Some(7)));
        let valkey = info(&[
            "redis_version:7.2.4",
            "server_name:valkey",
            "valkey_version:8.1.1",
            "server_mode:sentinel",
        ]);
        let version = "valkey 8.1.1 (compatible with Redis 7.2.4)";
        assert_eq!(valkey.version().as_deref(), Some(version));
        assert_eq!((valkey.mode(), valkey.redis_major()), (Some("sentinel"), Some(7)));
        let empty = info(&[]);
        assert_eq!((empty.version(), empty.mode(), empty.redis_major()), (None, None, None));
    }
}
