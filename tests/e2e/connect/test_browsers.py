"""A browser is no way in: DNS rebinding, pages of other sites, and client certificates."""

import subprocess

import pytest

from app import App
from connect_http import JSON, QUOTA, call
from sidecar import Sidecar

JOIN = {"appId": "rebound", "groupId": "g", "userIds": ["u"]}


@pytest.fixture(scope="module")
def rebound(sidecar):
    """An app with a group, which must not change."""
    with App(sidecar, app_id="rebound") as app:
        app.create_group("g", "Public", "owner")
        yield app
        assert app.usages(group_id="g")["members_per_group"].used == 1


@pytest.mark.parametrize("http2", [False, True])
@pytest.mark.parametrize("host", ["attacker.example", "localhost.attacker.example", "8.8.8.8"])
def test_a_name_that_was_rebound_to_the_sidecar_is_refused(sidecar, rebound, host, http2):
    port = sidecar.port
    # The name resolves to the sidecar, as after DNS rebinding.
    rebinding = ["--resolve", f"{host}:{port}:127.0.0.1", "--connect-to", f"::127.0.0.1:{port}"]
    for path, body in ((QUOTA + "JoinGroup", JOIN), ("/openapi.json", None)):
        answer = call(f"{host}:{port}", path, body, http2=http2, more=rebinding)
        assert (answer.status, answer.reason()) == (403, "HOST_NOT_ALLOWED"), answer


@pytest.mark.parametrize("headers, status", [
    # What forms send without a preflight, with a body that would be valid JSON.
    ({"content-type": "text/plain", "origin": "https://attacker.example"}, 403),
    ({"content-type": "application/x-www-form-urlencoded", "origin": "null"}, 403),
    ({"content-type": "text/plain"}, 415),
    ({"content-type": "multipart/form-data; boundary=x"}, 415),
    ({"content-type": "application/x-www-form-urlencoded"}, 415),
    # What a page could send if it had a preflight, which is never answered.
    ({**JSON, "origin": "https://attacker.example"}, 403),
    ({**JSON, "origin": "http://localhost:3000"}, 403),
    ({**JSON, "sec-fetch-site": "cross-site"}, 403),
    ({**JSON, "sec-fetch-site": "same-site"}, 403),
])
def test_a_form_or_script_of_another_site_is_refused(sidecar, rebound, headers, status):
    for http2 in (False, True):
        answer = call(sidecar.tcp, QUOTA + "JoinGroup", JOIN, headers=headers, http2=http2)
        assert answer.status == status, answer
        assert not any(name.startswith("access-control-") for name in answer.headers)


def test_a_preflight_allows_nothing(sidecar):
    headers = {"origin": "https://attacker.example", "access-control-request-method": "POST",
               "access-control-request-headers": "content-type"}
    for sent in (headers, {"access-control-request-method": "POST"}):
        answer = call(sidecar.tcp, QUOTA + "JoinGroup", method="OPTIONS", headers=sent)
        assert answer.status in (403, 405)
        assert not any(name.startswith("access-control-") for name in answer.headers)


def test_grpc_is_served_under_any_name(sidecar):
    import grpc

    from stubs import quota_grpc, quota_pb
    options = [("grpc.default_authority", "proxy.example"), ("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(sidecar.tcp, options=options) as channel:
        request = quota_pb.GetUsageRequest(app_id="a", subject={"app": {}})
        quota_grpc.QuotaServiceStub(channel).GetUsage(request, timeout=10)


def test_configured_names_are_served_with_any_port():
    settings = ["--http-hosts", "quota.example", "--http-hosts", "imquota"]
    usage = {"appId": "a", "subject": {"app": {}}}
    with Sidecar(*settings, store="memory") as sidecar:
        for host, status in (("quota.example", 200), ("Quota.Example:443", 200), ("imquota", 200),
                             ("localhost", 200), ("www.quota.example", 403)):
            answer = call(sidecar.tcp, QUOTA + "GetUsage", usage, headers={**JSON, "host": host})
            assert answer.status == status, host
        # No browser reaches a Unix socket.
        answer = call(sidecar.unix, QUOTA + "GetUsage", usage, headers={**JSON, "host": "any"})
        assert answer.status == 200


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """An authority, and certificates of the sidecar and of a client."""
    folder = tmp_path_factory.mktemp("certificates")
    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=folder)

    openssl("req", "-x509", *new, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca")
    for name, alternative in (("server", "DNS:localhost,IP:127.0.0.1"), ("ann", "DNS:ann")):
        (folder / f"{name}.ext").write_text(f"subjectAltName={alternative}\n")
        openssl("req", *new[:-2], "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj",
                f"/CN={name}")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
                "-CAcreateserial", "-days", "2", "-extfile", f"{name}.ext", "-out", f"{name}.pem")
    return folder


def test_a_client_certificate_does_not_make_a_page_trusted(certificates):
    """A program with a certificate has no Origin and is served; a browser sends the certificate of
    its user with the request of any page."""
    path = str(certificates)
    settings = [*("--admin-tls-cert", f"{path}/server.pem", "--admin-tls-key"),
                f"{path}/server.key", "--admin-tls-client-ca", f"{path}/ca.pem",
                "--admin-client-roles", "ann=owner"]
    with EncryptedAdmin(*settings, store="memory") as sidecar:
        for version in ("--http1.1", "--http2"):
            trusted = ["--cacert", f"{path}/ca.pem", version]
            certified = [*trusted, "--cert", f"{path}/ann.pem", "--key", f"{path}/ann.key"]

            def listed(more: list[str], **headers: str):
                return call(f"https://localhost:{sidecar.admin_port}",
                            "/imquota.v1.AdminService/ListApps", {}, more=more,
                            headers={**JSON, **headers})

            assert listed(certified).status == 200
            for page in ({"origin": "https://attacker.example"}, {"sec-fetch-site": "cross-site"},
                         {"host": "attacker.example"}):
                answer = listed(certified, **page)
                assert answer.status == 403 and answer.json()["code"] == "permission_denied", page


class EncryptedAdmin(Sidecar):
    """A sidecar whose admin listener is encrypted, and is waited for by the others."""

    def _serving_or_ended(self) -> bool:
        from sidecar import is_serving
        if self.process.poll() is not None:
            return True
        return all(is_serving(target) for target in (self.tcp, self.unix))
