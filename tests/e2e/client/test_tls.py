"""The Python clients over TLS, with and without a client certificate."""

import asyncio
import subprocess

import pytest

import imquota
from imquota import aio
from sidecar import Sidecar, is_serving

REQUEST = ("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


class OverTls(Sidecar):
    """A sidecar whose TCP listeners have TLS."""

    def _serving_or_ended(self) -> bool:
        return self.process.poll() is not None or is_serving(self.unix)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """A folder with an authority `ca`, and what it issued to `server` and `client`."""
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*command: str) -> None:
        subprocess.run(command, check=True, capture_output=True, cwd=folder)

    openssl(*REQUEST, "-x509", "-keyout", "ca.key", "-out", "ca.crt", "-days", "2", "-subj",
            "/CN=authority")
    for name in ("server", "client"):
        openssl(*REQUEST, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        (folder / "extensions").write_text("subjectAltName=DNS:quota.example.org")
        openssl("openssl", "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey",
                "ca.key", "-CAcreateserial", "-out", f"{name}.crt", "-days", "2", "-extfile",
                "extensions")
    return folder


def test_certificates_of_both_sides_are_checked(certificates):
    at = {name: certificates / name for name in (
        "ca.crt", "server.crt", "server.key", "client.crt", "client.key")}
    settings = ("--tls-cert", str(at["server.crt"]), "--tls-key", str(at["server.key"]),
                "--tls-client-ca", str(at["ca.crt"]))
    name = "quota.example.org"
    client = {"certificate": at["client.crt"], "key": at["client.key"]}
    right = imquota.Tls(authority=at["ca.crt"], server_name=name, **client)
    wrong = [imquota.Tls(authority=at["ca.crt"], server_name=name),
             imquota.Tls(authority=at["ca.crt"], **client),
             imquota.Tls(authority=at["client.crt"], server_name=name, **client), None]

    def options(tls: imquota.Tls | None) -> imquota.Options:
        return imquota.Options(tls=tls, token="unused" if tls else None)

    async def usage(target: str) -> int:
        async with aio.Client(target, "demo", options(right)) as quota:
            return (await quota.group_usage("g"))["members_per_group"].used

    with OverTls(*settings) as sidecar:
        with imquota.Client(sidecar.tcp, "demo", options(right)) as quota:
            quota.create_group("g", "Public", owner="owner", timeout_s=20)
        assert asyncio.run(usage(sidecar.tcp)) == 1
        for tls in wrong:
            with imquota.Client(sidecar.tcp, "demo", options(tls)) as quota:
                with pytest.raises(imquota.Unavailable):
                    quota.group_usage("g", timeout_s=0.7)
