"""The Redis of the manifests: started like in its pod, it works as the store of imquota."""

import re
import subprocess
from contextlib import contextmanager
from pathlib import Path

import kubernetes_validate
import pytest

from app import ALREADY_HELD, APPLIED, App, outcomes
from rendering import composed, every, imquota_of, kustomized, only, pod_of, settings_of
from sidecar import Sidecar, free_ports, wait_until
from tools import DEPLOY

OVERLAYS = ["kustomize/overlays/standalone-redis", "kustomize/overlays/sidecar-redis"]
PASSWORD = r"""a/b&c\1'd"e $f"""
"""A password with characters that are special in sed and shells."""
MIB = {"mb": 1, "gb": 1024, "Mi": 1, "Gi": 1024}


def redis_pod(objects: list[dict]) -> dict:
    """The pod of Redis."""
    return only("StatefulSet", objects)["spec"]["template"]["spec"]


def mebibytes(text: str) -> int:
    """The mebibytes of an amount in the notation of redis.conf or Kubernetes."""
    number, unit = re.fullmatch(r"(\d+)(\w\w)", text).groups()
    return int(number) * MIB[unit]


def config_of(objects: list[dict], pod: dict) -> dict[str, str]:
    """The files of the ConfigMap that the pod mounts."""
    (name,) = [each["configMap"]["name"] for each in pod["volumes"] if "configMap" in each]
    (found,) = [each["data"] for each in every("ConfigMap", objects)
                if each["metadata"]["name"] == name]
    return found


def filled(pod: dict, config: dict[str, str], folder: Path, password: str) -> dict[str, Path]:
    """The volumes of the pod as folders, filled like by the kubelet; by name."""
    folders = {}
    for volume in [*pod["volumes"], {"name": "data"}]:
        path = folder / volume["name"]
        path.mkdir(exist_ok=True)
        folders[volume["name"]] = path
        if "configMap" in volume:
            for name, text in config.items():
                (path / name).write_text(text)
        for item in volume.get("secret", {}).get("items", []):
            assert volume["secret"]["secretName"] == "imquota" and item["key"] == "redis-password"
            (path / item["path"]).write_text(password)
    return folders


def command_of(container: dict, folders: dict[str, Path]) -> list[str]:
    """The command of a container, with the paths of its mounts replaced by those folders."""
    words = [*container["command"], *container["args"]]
    mounts = {each["mountPath"]: str(folders[each["name"]]) for each in container["volumeMounts"]}
    places = "|".join(map(re.escape, sorted(mounts, key=len, reverse=True)))
    return [re.sub(rf"({places})(?=/|$)", lambda found: mounts[found[1]], word) for word in words]


@contextmanager
def redis_of(objects: list[dict], folder: Path, password: str = f"{PASSWORD}\n"):
    """Redis, started like by the pod; yields its port."""
    pod = redis_pod(objects)
    folders = filled(pod, config_of(objects, pod), folder, password)
    (init,), (redis,) = pod["initContainers"], pod["containers"]
    subprocess.run(command_of(init, folders), check=True, timeout=20)
    (port,) = free_ports(1)
    with (folder / "log").open("w") as log:
        server = subprocess.Popen([*command_of(redis, folders), "--port", str(port)],
                                  stdout=log, stderr=log)

    def is_up() -> bool:
        assert server.poll() is None, (folder / "log").read_text()
        return "NOAUTH" in cli(port, "PING")

    try:
        wait_until(is_up, 20, "redis answers")
        yield port
    finally:
        server.kill()
        server.wait()


def cli(port: int, *command: str) -> str:
    """The output of redis-cli."""
    ran = subprocess.run(["redis-cli", "-p", str(port), "--no-auth-warning", *command],
                         capture_output=True, text=True, timeout=20)
    return ran.stdout + ran.stderr


def login(objects: list[dict], folder: Path) -> list[str]:
    """The settings of imquota for the user, with the file of the secret in that folder."""
    settings = settings_of(objects)
    path = Path(settings["IMQUOTA_REDIS_PASSWORD_FILE"])
    (mount,) = [each for each in imquota_of(objects)["volumeMounts"]
                if each["mountPath"] == str(path.parent)]
    (volume,) = [each for each in pod_of(objects)["volumes"] if each["name"] == mount["name"]]
    assert volume["secret"]["secretName"] == "imquota" and path.name == "redis-password"
    assert not volume["secret"]["optional"], "pods wait for the secret"
    (folder / path.name).write_text(f"{PASSWORD}\n")
    return ["--redis-username", settings["IMQUOTA_REDIS_USERNAME"],
            "--redis-password-file", str(folder / path.name)]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_imquota_is_the_user_of_its_redis_and_facts_survive_a_kill(overlay, tmp_path):
    objects = kustomized(overlay)
    flags = login(objects, tmp_path)
    with redis_of(objects, tmp_path) as port:
        with Sidecar(*flags, store=f"redis://127.0.0.1:{port}/0") as sidecar, App(sidecar) as app:
            assert outcomes(app.create_accounts("a")) == [APPLIED]
            name = app.id
        assert "NOAUTH" in cli(port, "GET", "a"), "no login without a password"
        for user in ("imquota", "default"):
            assert "WRONGPASS" in cli(port, "--user", user, "--pass", "SECRET", "INFO"), user
    with redis_of(objects, tmp_path) as port:
        with Sidecar(*flags, store=f"redis://127.0.0.1:{port}/0") as sidecar, App(
                sidecar, app_id=name) as app:
            assert outcomes(app.create_accounts("a", "b")) == [ALREADY_HELD, APPLIED]


def test_an_empty_password_prevents_the_start(tmp_path):
    with pytest.raises(subprocess.CalledProcessError):
        with redis_of(kustomized("redis"), tmp_path, password="\n"):
            pass


@pytest.mark.parametrize("overlay", [*OVERLAYS, "redis"])
def test_redis_has_the_shipped_files_and_the_name_of_the_url(overlay):
    objects = kustomized(overlay)
    for each in objects:
        kubernetes_validate.validate(each, "1.33", strict=True)
    pod = redis_pod(objects)
    assert config_of(objects, pod) == {
        name: (DEPLOY / "redis" / name).read_text() for name in ("redis.conf", "users.acl")}
    (redis,) = pod["containers"]
    ports = {each["name"]: each["containerPort"] for each in redis["ports"]}
    labels = only("StatefulSet", objects)["spec"]["template"]["metadata"]["labels"]
    (service,) = [each for each in every("Service", objects)
                  if each["spec"]["selector"].items() <= labels.items()]
    (port,) = service["spec"]["ports"]
    url = f"redis://{service['metadata']['name']}:{port['port']}/0"
    assert ports[port["targetPort"]] == port["port"] == 6379
    assert only("StatefulSet", objects)["spec"]["selector"]["matchLabels"] == labels
    if overlay != "redis":
        assert settings_of(objects)["IMQUOTA_STORE"] == url


def test_redis_runs_without_privileges_and_its_file_is_on_a_claim():
    objects = kustomized("redis")
    pod = redis_pod(objects)
    (redis,), (claim,) = pod["containers"], only("StatefulSet", objects)["spec"][
        "volumeClaimTemplates"]
    mounts = {each["name"]: each["mountPath"] for each in redis["volumeMounts"]}
    arguments = redis["args"]
    assert arguments[arguments.index("--dir") + 1] == mounts[claim["metadata"]["name"]]
    settings = dict(line.split(None, 1) for line in config_of(objects, pod)[
        "redis.conf"].splitlines() if line and not line.startswith("#"))
    assert settings["appendonly"] == "yes"
    limit = mebibytes(redis["resources"]["limits"]["memory"])
    assert 0.6 < mebibytes(settings["maxmemory"]) / limit < 0.75
    storage = mebibytes(claim["spec"]["resources"]["requests"]["storage"])
    assert storage > 2 * limit, "room for the file and its rewritten successor"
    assert pod["securityContext"]["runAsNonRoot"] and not pod["automountServiceAccountToken"]
    for container in [redis, *pod["initContainers"]]:
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"] and not security["allowPrivilegeEscalation"]
        assert security["capabilities"] == {"drop": ["ALL"]}


def test_its_image_can_be_replaced_by_name():
    image = {"name": "redis", "newName": "REGISTRY/redis", "newTag": "7.4"}
    pod = redis_pod(composed(["kustomize/overlays/standalone-redis"], images=[image]))
    assert {each["image"] for each in pod["containers"] + pod["initContainers"]} == {
        "REGISTRY/redis:7.4"}
