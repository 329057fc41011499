//! The descriptors of the services and messages of `proto/imquota/v1`.

use std::sync::LazyLock;

use prost_reflect::{DescriptorPool, MethodDescriptor};

use super::pb;

/// All descriptors.
pub static DESCRIPTORS: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(pb::DESCRIPTORS).expect("the build wrote valid descriptors")
});

/// Returns the paths of the calls that send a stream of requests.
pub fn client_streams() -> Vec<String> {
    let services = DESCRIPTORS.services();
    let methods = services.flat_map(|service| service.methods().collect::<Vec<_>>());
    let streams = methods.filter(MethodDescriptor::is_client_streaming);
    streams.map(|it| format!("/{}/{}", it.parent_service().full_name(), it.name())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_streams_are_those_of_the_protos() {
        let mut streams = client_streams();
        streams.sort();
        let expected = ["/imquota.v1.AdminService/Reconcile", "/imquota.v1.QuotaService/Apply"];
        assert_eq!(streams, expected);
    }
}
