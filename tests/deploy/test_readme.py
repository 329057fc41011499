"""The overlays of deploy/README.md have the documented effect."""

import re

import kubernetes_validate
import pytest
import yaml

from rendering import composed, every, imquota_of, settings_of
from test_policies import LEAST, OTLP, OUTSIDE, SENTINELS, SHIPPED, admitted
from tools import DEPLOY

README = (DEPLOY / "README.md").read_text()
SHOWN = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", README, re.S)]
CLONE = "../imquota/deploy/"


def overlay(number: int) -> list[dict]:
    """The objects of an overlay of the README."""
    shown = dict(SHOWN[number])
    assert shown.pop("kind") == "Kustomization" and shown.pop("apiVersion")
    paths = [[each.removeprefix(CLONE) for each in shown.pop(key, [])]
             for key in ("resources", "components")]
    return composed(*paths, **shown)


@pytest.mark.parametrize(("number", "connections"), [
    (0, LEAST | SHIPPED), (1, LEAST | SENTINELS | OTLP | OUTSIDE)])
def test_an_overlay_of_the_readme_has_its_image_and_its_connections(number, connections):
    assert len(SHOWN) == 2
    objects = overlay(number)
    for each in objects:
        kubernetes_validate.validate(each, "1.33", strict=True)
    assert imquota_of(objects)["image"] == "REGISTRY/imquota:0.2.0"
    assert admitted(objects) == connections
    literals = [line for each in SHOWN[number].get("configMapGenerator", [])
                for line in each["literals"]]
    assert dict(line.split("=", 1) for line in literals).items() <= settings_of(objects).items()
    assert "IMQUOTA_JOURNAL" in settings_of(objects), "other settings are unchanged"


def test_the_password_of_the_readme_is_the_one_that_pods_mount():
    assert "create secret generic imquota --from-literal=redis-password=" in README
    (store,) = every("StatefulSet", overlay(0))
    (secret,) = [each["secret"] for each in store["spec"]["template"]["spec"]["volumes"]
                 if "secret" in each]
    assert secret["secretName"] == "imquota"
    assert [each["key"] for each in secret["items"]] == ["redis-password"]
