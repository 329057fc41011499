//! The RPCs that are served, by path, with the descriptors of their messages.

use std::collections::HashMap;
use std::sync::LazyLock;

use prost_reflect::{DescriptorPool, MessageDescriptor, MethodDescriptor};

use crate::grpc::{RECONCILE_MAX_BYTES, REQUEST_MAX_BYTES};
use crate::proto::descriptors::DESCRIPTORS;

/// Services that are not imquota's own and have JSON too.
const HEALTH: &str = "grpc.health.v1.Health";

/// The descriptors of the services, of health, and of the details of errors.
pub(super) static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let mut pool = DESCRIPTORS.clone();
    for set in [tonic_health::pb::FILE_DESCRIPTOR_SET, tonic_types::pb::FILE_DESCRIPTOR_SET] {
        pool.decode_file_descriptor_set(set).expect("the libraries have valid descriptors");
    }
    pool
});

static METHODS: LazyLock<HashMap<String, Method>> = LazyLock::new(|| {
    let services = POOL
        .services()
        .filter(|service| service.full_name() == HEALTH || service.package_name() == "imquota.v1");
    let methods = services.flat_map(|service| service.methods().collect::<Vec<_>>());
    methods.map(|method| (path(&method), Method::of(&method))).collect()
});

/// An RPC.
#[derive(Debug)]
pub(super) struct Method {
    /// The message of a request.
    pub(super) input: MessageDescriptor,
    /// The message of an answer.
    pub(super) output: MessageDescriptor,
    /// True if requests or answers are a stream.
    pub(super) is_stream: bool,
    /// True if requests are a stream.
    pub(super) has_request_stream: bool,
    /// Longest message of a request.
    pub(super) request_max_bytes: usize,
}

impl Method {
    fn of(method: &MethodDescriptor) -> Self {
        let (input, output) = (method.input(), method.output());
        let has_request_stream = method.is_client_streaming();
        let request_max_bytes =
            if method.name() == "Reconcile" { RECONCILE_MAX_BYTES } else { REQUEST_MAX_BYTES };
        let is_stream = has_request_stream || method.is_server_streaming();
        Self { input, output, is_stream, has_request_stream, request_max_bytes }
    }

    /// Returns the RPC of a path, if it is served.
    pub(super) fn at(path: &str) -> Option<&'static Self> {
        METHODS.get(path)
    }
}

/// Returns the path of an RPC.
pub(super) fn path(method: &MethodDescriptor) -> String {
    format!("/{}/{}", method.parent_service().full_name(), method.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rpc_of_imquota_and_health_has_a_path() {
        let services = DESCRIPTORS.services();
        let own: usize = services.map(|service| service.methods().len()).sum();
        assert_eq!(METHODS.len(), own + 2, "and Check and Watch of health");
        let watch = Method::at("/imquota.v1.AdminService/WatchEvents").expect("served");
        assert!(watch.is_stream && !watch.has_request_stream);
        let apply = Method::at("/imquota.v1.QuotaService/Apply").expect("served");
        assert!(apply.is_stream && apply.has_request_stream);
        let join = Method::at("/imquota.v1.QuotaService/JoinGroup").expect("served");
        assert!(!join.is_stream);
        for path in ["/", "", "imquota.v1.QuotaService/JoinGroup", "/imquota.v1.QuotaService/Nope"]
        {
            assert!(Method::at(path).is_none(), "{path}");
        }
    }
}
