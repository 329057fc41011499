//! Every RPC with every role over every transport.

use imquota::access::{Role, make_token};
use imquota::grpc::{ADMIN_SERVICE, METERING_SERVICE, pb};
use prost_reflect::DescriptorPool;
use tonic::Code;
use tonic::transport::Channel;

use super::calls::{CALLS, Call, With, last_change};
use super::certificates::Authority;
use super::connection::{Client, client, encrypted, plain, tls_config, unix};
use super::sidecar::{Flag, ROLES, Sidecar, TokenFile, flag};

/// The credentials of a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    /// No credentials.
    Nobody,
    /// Unknown credentials.
    Stranger,
    /// Valid credentials with that role.
    Known(Role),
}

const CALLERS: [Who; 5] = [
    Who::Nobody,
    Who::Stranger,
    Who::Known(Role::Viewer),
    Who::Known(Role::Operator),
    Who::Known(Role::Owner),
];

/// The expected error; `None` if the call is authorized.
fn refusal(who: Who, call: Call) -> Option<Code> {
    match who {
        Who::Nobody | Who::Stranger => Some(Code::Unauthenticated),
        Who::Known(role) => (role < call.least).then_some(Code::PermissionDenied),
    }
}

/// Makes every call and compares it with the table. `name` and `from` are the caller's name and
/// address that the audit log must have.
async fn check(who: Who, mut caller: Client, mut owner: Client, name: &str, from: &str) {
    for (number, call) in CALLS.into_iter().enumerate() {
        // The subjects of the calls exist, so that authorized calls have an effect.
        let app = format!("{}-{number}", format!("{who:?}").replace(['(', ')'], "-"));
        prepare(call, &mut owner, &app).await;
        let (before, ..) = last_change(&mut owner).await;
        let code = call.make(&mut caller, &app).await;
        let (after, actor, at) = last_change(&mut owner).await;
        let context = format!("{who:?} calls {call:?}: {code:?}");
        if let Some(refusal) = refusal(who, call) {
            assert_eq!(code, refusal, "{context}");
            assert_eq!(after, before, "{context}, and it changed something");
            continue;
        }
        assert_eq!(after, before + call.entries(), "{context}");
        assert_eq!(code, call.when_authorized(), "{context}");
        if call.entries() > 0 {
            assert_eq!(actor, name, "{context}");
            assert!(at.starts_with(from), "{context}: from {at}, not {from}");
        }
    }
}

/// Brings the app into a state in which the call can succeed.
async fn prepare(call: Call, owner: &mut Client, app: &str) {
    let before: &[&str] = match call.rpc {
        "CreateApp"
        | "ListApps"
        | "GetCatalog"
        | "ListAuditEvents"
        | "WatchEvents"
        | "ListTopDenials"
        | "CreateBackup"
        | "ActivateCatalog"
        | "AcceptClock"
        | "GetStoreState"
        | "AcceptStore"
        | "ListSetAsideOperations"
        | "DeleteSetAsideOperations"
        | "ListJournalEntries"
        | "RetryJournalEntry"
        | "DropJournalEntry" => &[],
        "RenewEdition" | "GrantAddOn" | "RefundPurchase" | "ChangeEdition" => {
            &["CreateApp", "PurchaseEdition"]
        }
        "ExchangeAddOn" => &["CreateApp", "PurchaseEdition", "GrantAddOn"],
        _ => &["CreateApp"],
    };
    for rpc in before {
        let call = Call { rpc, with: With::Plain, least: Role::Operator };
        assert_eq!(call.make(owner, app).await, Code::Ok, "{call:?}");
    }
    // A backdated change must not be dated before the last one.
    tokio::time::sleep(std::time::Duration::from_millis(2)).await;
}

#[test]
fn the_table_names_every_rpc() {
    let pool = DescriptorPool::decode(pb::DESCRIPTORS).expect("descriptors");
    let services = [ADMIN_SERVICE, METERING_SERVICE];
    let services = services.map(|name| pool.get_service_by_name(name).expect("the service"));
    for method in services.iter().flat_map(prost_reflect::ServiceDescriptor::methods) {
        let rows = CALLS.iter().filter(|call| call.rpc == method.name()).count();
        let has = |field| method.input().get_field_by_name(field).is_some();
        // A preview sells nothing.
        let is_preview = method.name() == "PreviewEntitlement";
        let fields = ["effective_at", "price_fen"].iter().filter(|it| has(it) && !is_preview);
        assert_eq!(rows, 1 + fields.count(), "{}", method.name());
    }
}

/// The token of a caller, if tokens are configured.
fn token(who: Who, file: &TokenFile) -> Option<String> {
    match who {
        Who::Nobody => None,
        Who::Stranger => Some(make_token().expect("random")),
        Who::Known(role) => Some(file.token(role).to_owned()),
    }
}

async fn check_tokens(file: &TokenFile, channel: Channel, from: &str) {
    for who in CALLERS {
        let token = token(who, file);
        let owner = client(channel.clone(), Some(file.token(Role::Owner)));
        let name = if let Who::Known(role) = who { role.name() } else { "" };
        check(who, client(channel.clone(), token.as_deref()), owner, name, from).await;
    }
}

fn tls_flags(authority: &Authority) -> [Flag; 2] {
    let server = authority.certify("server", "IP:127.0.0.1");
    [flag("tls-cert", &server.certificate), flag("tls-key", &server.key)]
}

#[tokio::test]
async fn tokens_determine_roles_over_tcp() {
    let file = TokenFile::new();
    let sidecar = Sidecar::start(&[flag("admin-tokens-file", file.path())]).await;
    check_tokens(&file, plain(sidecar.admin).await, "127.0.0.1:").await;
    sidecar.stop().await;
}

#[tokio::test]
async fn tokens_determine_roles_over_tls() {
    let (file, authority) = (TokenFile::new(), Authority::new());
    let [certificate, key] = tls_flags(&authority);
    let tokens = flag("admin-tokens-file", file.path());
    let sidecar = Sidecar::start(&[certificate, key, tokens]).await;
    let channel = encrypted(sidecar.admin, tls_config(&authority, None)).await;
    check_tokens(&file, channel, "127.0.0.1:").await;
    sidecar.stop().await;
}

#[tokio::test]
async fn names_in_client_certificates_determine_roles() {
    let (file, authority) = (TokenFile::new(), Authority::new());
    let names = ["viewer.example", "operator.example", "spiffe://example/owner"];
    // The second one has the notation of before kinds existed.
    let kinds = ["DNS:", "", "URI:"];
    let mut flags = tls_flags(&authority).to_vec();
    flags.push(flag("admin-tls-client-ca", authority.certificate()));
    flags.push(flag("admin-tokens-file", file.path()));
    for ((role, name), kind) in ROLES.into_iter().zip(names).zip(kinds) {
        flags.push(("admin-client-roles", format!("{kind}{name}={}", role.name())));
    }
    let sidecar = Sidecar::start(&flags).await;
    let pairs = [
        authority.certify("viewer", "DNS:viewer.example"),
        // With several names the one with the highest role counts.
        authority.certify("operator", "DNS:viewer.example,DNS:operator.example,DNS:x.example"),
        authority.certify("owner", "URI:spiffe://example/owner"),
        // The URIs are equal to names that have a role as DNS names.
        authority.certify(
            "stranger",
            "DNS:owner,DNS:Viewer.example,URI:spiffe://example/owner2,URI:viewer.example,\
             URI:operator.example",
        ),
    ];
    for who in CALLERS {
        let (pair, name) = match who {
            Who::Nobody => (None, ""),
            Who::Stranger => (Some(&pairs[3]), ""),
            Who::Known(role) => {
                let index = ROLES.iter().position(|other| *other == role).expect("one of them");
                (Some(&pairs[index]), names[index])
            }
        };
        let channel = encrypted(sidecar.admin, tls_config(&authority, pair)).await;
        let caller = client(channel.clone(), None);
        let owner = client(channel, Some(file.token(Role::Owner)));
        check(who, caller, owner, name, "127.0.0.1:").await;
    }
    sidecar.stop().await;
}

#[tokio::test]
async fn users_of_a_unix_socket_determine_roles() {
    let file = TokenFile::new();
    let own = own_uid();
    for who in CALLERS {
        let (uid, role) = match who {
            Who::Known(role) => (own, role),
            Who::Nobody | Who::Stranger => (own + 1, Role::Owner),
        };
        let users = ("admin-unix-uids", format!("{uid}={}", role.name()));
        let sidecar = Sidecar::start(&[flag("admin-tokens-file", file.path()), users]).await;
        let channel = unix(&sidecar.socket).await;
        let owner = client(channel.clone(), Some(file.token(Role::Owner)));
        let token = if who == Who::Stranger { token(who, &file) } else { None };
        let caller = client(channel, token.as_deref());
        let from = format!("unix:{} uid {own}", sidecar.socket.display());
        check(who, caller, owner, &format!("uid {own}"), &from).await;
        sidecar.stop().await;
    }
}

#[tokio::test]
async fn without_credentials_every_caller_is_the_local_owner() {
    let sidecar = Sidecar::start(&[]).await;
    let from = format!("unix:{} uid {}", sidecar.socket.display(), own_uid());
    for (channel, from) in
        [(plain(sidecar.admin).await, "127.0.0.1:"), (unix(&sidecar.socket).await, from.as_str())]
    {
        let clients = [(); 2].map(|()| client(channel.clone(), None));
        let [caller, owner] = clients;
        let who = if from.starts_with("unix") { "over the socket" } else { "over TCP" };
        for (number, call) in CALLS.into_iter().enumerate() {
            let app = format!("{}-{number}", who.replace(' ', "-"));
            prepare(call, &mut owner.clone(), &app).await;
            let code = call.make(&mut caller.clone(), &app).await;
            assert_eq!(code, call.when_authorized(), "{who}: {call:?}");
        }
        let (_, actor, at) = last_change(&mut owner.clone()).await;
        assert_eq!(actor, "local");
        assert!(at.starts_with(from), "{at}");
    }
    sidecar.stop().await;
}

/// The user id of this process, which owns the files that it creates.
fn own_uid() -> u32 {
    use std::os::unix::fs::MetadataExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::metadata(folder.path()).expect("there").uid()
}
