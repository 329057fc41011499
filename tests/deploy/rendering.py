"""Renders overlays and the chart with kubectl and helm, and finds objects in them."""

import functools
import json
import os
import tempfile
from pathlib import Path

import yaml

from tools import DEPLOY, run, tool

printed = functools.cache(run)
"""Cached, since the same input renders the same output."""


def objects_of(text: str) -> list[dict]:
    """The objects of a stream of documents."""
    return [each for each in yaml.safe_load_all(text) if each]


def kustomized(folder: str) -> list[dict]:
    """The objects of a kustomization in `deploy/`."""
    return objects_of(printed(tool("kubectl"), "kustomize", str(DEPLOY / folder)))


def composed(resources: list[str], components: list[str] = (), **more) -> list[dict]:
    """The objects of a user's overlay on those in `deploy/`."""
    with tempfile.TemporaryDirectory() as folder:
        def path(name: str) -> str:
            return os.path.relpath((DEPLOY / name).resolve(), Path(folder).resolve())

        written = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization",
                   "resources": [path(each) for each in resources],
                   "components": [path(each) for each in components], **more}
        (Path(folder) / "kustomization.yaml").write_text(yaml.safe_dump(written))
        return objects_of(run(tool("kubectl"), "kustomize", folder))


def templated(values: dict[str, str], good: bool = True, release: str = "try"):
    """The objects of the chart with values of the command line, or helm's error output."""
    settings = [part for key, value in values.items() for part in ("--set-string" if value not in (
        "true", "false") and not value.isdigit() else "--set", f"{key}={value}")]
    text = printed(tool("helm"), "template", release, "helm/imquota", *settings, good=good)
    return objects_of(text) if good else text


def templated_from(values: dict, good: bool = True):
    """The objects of the chart with a file of values, or helm's error output."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        # Numbers in plain notation: 5000000, not 5e6.
        file.write(json.dumps(values))
        file.flush()
        text = run(tool("helm"), "template", "try", "helm/imquota", "-f", file.name, good=good)
    return objects_of(text) if good else text


def kinds(objects: list[dict]) -> set[str]:
    """The kinds of the objects."""
    return {each["kind"] for each in objects}


def every(kind: str, objects: list[dict]) -> list[dict]:
    """The objects of a kind."""
    return [each for each in objects if each["kind"] == kind]


def only(kind: str, objects: list[dict]) -> dict:
    """The one object of a kind."""
    (found,) = every(kind, objects)
    return found


def pod_of(objects: list[dict]) -> dict:
    """The pod of the one Deployment."""
    return only("Deployment", objects)["spec"]["template"]["spec"]


def imquota_of(objects: list[dict]) -> dict:
    """The container that runs imquota."""
    pod = pod_of(objects)
    containers = pod["containers"] + pod.get("initContainers", [])
    (found,) = [each for each in containers if each["name"] == "imquota"]
    return found


def settings_of(objects: list[dict]) -> dict[str, str]:
    """The settings of imquota: those of its ConfigMap, overridden by those of the container."""
    imquota = imquota_of(objects)
    (source,) = [each["configMapRef"]["name"] for each in imquota["envFrom"]]
    (found,) = [each["data"] for each in every("ConfigMap", objects)
                if each["metadata"]["name"] == source]
    return {**found, **{each["name"]: each.get("value") for each in imquota["env"]}}
