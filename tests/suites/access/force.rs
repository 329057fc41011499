//! Authorization of mode FORCE: every value of the setting over every transport of the data plane.

use std::path::Path;

use imquota::grpc::pb;
use imquota::grpc::pb::apply_request::Operation;
use imquota::grpc::pb::apply_response::Answer;
use imquota::grpc::pb::quota_service_client::QuotaServiceClient;
use tempfile::TempDir;
use tonic::Code;
use tonic::transport::Channel;
use tonic_types::StatusExt as _;

use super::certificates::{Authority, Pair};
use super::connection::{encrypted, plain, tls_config, unix};
use super::sidecar::{Flag, Sidecar, flag};

/// The transport of a caller on the data plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Loopback,
    Socket,
    /// A TCP listener that other machines can reach.
    Far,
    /// An encrypted TCP listener, without a client certificate.
    FarEncrypted,
    /// An encrypted TCP listener, with a verified client certificate.
    FarCertified,
    LoopbackCertified,
}

const WAYS: [Way; 6] = [
    Way::Loopback,
    Way::Socket,
    Way::Far,
    Way::FarEncrypted,
    Way::FarCertified,
    Way::LoopbackCertified,
];

/// The table: for each setting, whether FORCE is allowed, in the order of [`WAYS`].
const TABLE: [(Option<&str>, [bool; 6]); 4] = [
    (None, [true, true, false, false, true, true]),
    (Some("allow"), [true; 6]),
    (Some("certificates"), [false, false, false, false, true, true]),
    (Some("deny"), [false; 6]),
];

/// The beginning of the error message for the setting.
fn sentence(setting: Option<&str>) -> &'static str {
    match setting {
        Some("deny") => "mode FORCE is off: the setting `force` is deny; nothing was done",
        Some(_) => {
            "mode FORCE needs a verified client certificate: the setting `force` is certificates; \
             nothing was done"
        }
        None => {
            "mode FORCE needs a verified client certificate: the setting `force` is certificates, \
             its default on listeners that other machines can reach; nothing was done"
        }
    }
}

fn create(app: &str, mode: pb::Mode) -> pb::CreateAccountsRequest {
    let user_ids = vec!["u".to_owned()];
    pb::CreateAccountsRequest {
        app_id: app.into(),
        user_ids,
        mode: mode.into(),
        ..Default::default()
    }
}

type Data = QuotaServiceClient<Channel>;

async fn accounts(data: &mut Data, app: &str) -> i64 {
    let subject = pb::Subject { kind: Some(pb::subject::Kind::App(pb::AppSubject {})) };
    let request = pb::GetUsageRequest { app_id: app.into(), subject: Some(subject) };
    let usages = data.get_usage(request).await.expect("a usage").into_inner().usages;
    usages.iter().find(|usage| usage.limit_id == "accounts_per_app").expect("a limit").used
}

/// Creates an account on an Apply stream; returns the error, or `None` if it was decided.
async fn refusal_on_stream(data: &mut Data, app: &str, mode: pb::Mode) -> Option<pb::ApplyError> {
    let operation = Some(Operation::CreateAccounts(create(app, mode)));
    let request = pb::ApplyRequest { tag: 7, operation, ..Default::default() };
    let answers = data.apply(tokio_stream::iter([request])).await.expect("a stream");
    let answer = answers.into_inner().message().await.expect("an answer").expect("an answer");
    match answer.answer.expect("an answer") {
        Answer::Error(error) => Some(error),
        _ => None,
    }
}

/// Checks one transport with one value of the setting.
async fn check(mut data: Data, setting: Option<&str>, is_let_through: bool, context: &str) {
    for on_stream in [false, true] {
        let app = format!("app-{on_stream}");
        let refused = if on_stream {
            let error = refusal_on_stream(&mut data, &app, pb::Mode::Force).await;
            error.map(|error| {
                assert_eq!(error.reason, "FORCE_NOT_ALLOWED");
                (Code::from(error.code), error.message)
            })
        } else {
            let status = data.create_accounts(create(&app, pb::Mode::Force)).await.err();
            status.map(|status| {
                let details = status.get_error_details();
                let info = details.error_info().expect("an ErrorInfo");
                assert_eq!((&*info.domain, &*info.reason), ("imquota.v1", "FORCE_NOT_ALLOWED"));
                (status.code(), status.message().to_owned())
            })
        };
        let expected = (Code::PermissionDenied, sentence(setting).to_owned());
        let context = format!("{context}, on a stream: {on_stream}");
        assert_eq!(refused, (!is_let_through).then_some(expected), "{context}");
        assert_eq!(accounts(&mut data, &app).await, i64::from(is_let_through), "{context}");
        // Other modes are allowed to every caller.
        for mode in [pb::Mode::CheckOnly, pb::Mode::Shadow, pb::Mode::Enforce] {
            assert_eq!(refusal_on_stream(&mut data, &app, mode).await, None, "{context}");
            data.create_accounts(create(&app, mode)).await.expect("it is decided");
        }
    }
}

struct Place {
    authority: Authority,
    server: Pair,
    client: Pair,
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let authority = Authority::new();
        let server = authority.certify("server", "IP:127.0.0.1");
        let client = authority.certify("client", "DNS:im.example");
        Self { authority, server, client, folder: TempDir::new().expect("a folder") }
    }

    fn socket(&self) -> std::path::PathBuf {
        self.folder.path().join("data.sock")
    }

    /// The flags of a sidecar with that transport.
    fn flags(&self, way: Way, setting: Option<&str>) -> Vec<Flag> {
        let socket = format!("unix:{}", self.socket().display());
        let mut flags = vec![("listen", socket), ("listen", "0.0.0.0:0".to_owned())];
        flags.extend(setting.map(|setting| ("force", setting.to_owned())));
        let is_certified = matches!(way, Way::FarCertified | Way::LoopbackCertified);
        if is_certified || way == Way::FarEncrypted {
            flags.push(flag("tls-cert", &self.server.certificate));
            flags.push(flag("tls-key", &self.server.key));
        }
        if is_certified {
            flags.push(flag("tls-client-ca", self.authority.certificate()));
        }
        flags
    }

    async fn connect(&self, way: Way, sidecar: &Sidecar) -> Data {
        let far = {
            let mut far = sidecar.more_data[0];
            far.set_ip([127, 0, 0, 1].into());
            far
        };
        let tls = |own| tls_config(&self.authority, own);
        let socket: &Path = &self.socket();
        QuotaServiceClient::new(match way {
            Way::Loopback => plain(sidecar.data).await,
            Way::Socket => unix(socket).await,
            Way::Far => plain(far).await,
            Way::FarEncrypted => encrypted(far, tls(None)).await,
            Way::FarCertified => encrypted(far, tls(Some(&self.client))).await,
            Way::LoopbackCertified => encrypted(sidecar.data, tls(Some(&self.client))).await,
        })
    }
}

#[tokio::test]
async fn setting_and_transport_determine_who_may_force() {
    let place = Place::new();
    for (setting, let_through) in TABLE {
        for (way, is_let_through) in WAYS.into_iter().zip(let_through) {
            let sidecar = Sidecar::start(&place.flags(way, setting)).await;
            let data = place.connect(way, &sidecar).await;
            check(data, setting, is_let_through, &format!("{setting:?} {way:?}")).await;
            sidecar.stop().await;
        }
    }
}
