"""deploy/serving: what the manifests promise each other. No cluster ran them here; `kubectl kustomize` renders
them, `make check-deploy` checks them against the schemas of Kubernetes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from jude.serving.metrics import Metrics
from jude.settings import Settings, load_settings
from tests.serving.running import PROJECT

DEPLOY = PROJECT / "deploy/serving"
OVERLAYS = ("cpu", "nvidia-gpu")


def manifest(name: str) -> Any:
    return yaml.safe_load((DEPLOY / "base" / f"{name}.yaml").read_text())


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """The settings of the cluster, over this project's own base.yml."""
    text = (DEPLOY / "base/serving.yml").read_text().replace("/opt/jude", str(PROJECT))
    file = tmp_path / "etc/jude/serving.yml"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    return load_settings(file, environ={"JUDE_TOKEN": "a-token-of-the-cluster"})


def test_the_settings_of_the_cluster_load_and_open_the_ports_of_the_manifest(settings: Settings) -> None:
    container = manifest("deployment")["spec"]["template"]["spec"]["containers"][0]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    serving = settings.serving

    assert ports == {"grpc": serving.port, "health": serving.health_port, "metrics": serving.metrics_port}
    assert {container[f"{kind}Probe"]["grpc"]["port"] for kind in ("startup", "readiness", "liveness")} == {
        serving.health_port
    }
    assert serving.tls.cert_file is not None
    assert serving.tokens == ("a-token-of-the-cluster",)


def test_the_pod_lives_long_enough_to_drain(settings: Settings) -> None:
    spec = manifest("deployment")["spec"]["template"]["spec"]
    asleep = int(spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])

    assert spec["terminationGracePeriodSeconds"] > asleep + settings.serving.drain_seconds + 1


def test_the_pod_has_no_rights_it_does_not_need() -> None:
    spec = manifest("deployment")["spec"]["template"]["spec"]
    container = spec["containers"][0]["securityContext"]

    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["automountServiceAccountToken"] is False
    assert container["readOnlyRootFilesystem"] is True
    assert container["capabilities"] == {"drop": ["ALL"]}
    assert manifest("network")["spec"]["egress"] == []


def test_the_autoscaler_reads_a_metric_that_the_server_has() -> None:
    from jude.serving.lanes import LaneRules, TwoLanes

    metrics = Metrics()
    metrics.watch(TwoLanes(LaneRules()))
    names = {family.name for family in metrics.registry.collect()}

    assert manifest("autoscaler")["spec"]["metrics"][0]["pods"]["metric"]["name"] in names


def rendered(overlay: str) -> str:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed here, which renders the manifests")
    command = ["kubectl", "kustomize", str(DEPLOY / "overlays" / overlay)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def tool(name: str) -> str:
    found = shutil.which(name, path=f"{PROJECT}/.jude/deploy-tools/bin")
    if found is None:
        pytest.skip(f"{name} is not installed here: make check-deploy")
    return found


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_overlays_fit_the_schemas_of_kubernetes(overlay: str) -> None:
    validate = [tool("kubernetes-validate"), "--strict", "-k", "1.33.0", "-"]
    manifests = rendered(overlay)
    checked = subprocess.run(validate, input=manifests, check=False, capture_output=True, text=True)
    wrong = manifests.replace("terminationGracePeriodSeconds: ", "terminationGraceSeconds: ")
    refused = subprocess.run(validate, input=wrong, check=False, capture_output=True, text=True)

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert (wrong != manifests, refused.returncode != 0) == (True, True)


def test_the_dockerfile_passes_hadolint() -> None:
    checked = subprocess.run(
        [tool("hadolint"), str(DEPLOY / "Dockerfile")], check=False, capture_output=True, text=True
    )

    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_overlays_render(overlay: str) -> None:
    found = {document["kind"]: document for document in yaml.safe_load_all(rendered(overlay))}

    assert set(found) == {
        "ConfigMap", "Deployment", "HorizontalPodAutoscaler", "NetworkPolicy", "PodDisruptionBudget", "Service",
    }  # fmt: skip
    pod = found["Deployment"]["spec"]["template"]["spec"]
    resources = pod["containers"][0]["resources"]
    assert ("nvidia.com/gpu" in json.dumps(resources)) == (overlay == "nvidia-gpu")
    assert pod["volumes"][0]["configMap"]["name"] == found["ConfigMap"]["metadata"]["name"]
    labels = found["Deployment"]["spec"]["template"]["metadata"]["labels"]
    for selector in (found["Service"]["spec"]["selector"], found["Deployment"]["spec"]["selector"]["matchLabels"]):
        assert selector.items() <= labels.items()


def test_the_image_is_pinned_and_not_root() -> None:
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    stages = [line for line in lines if line.startswith("FROM ")]

    assert len(stages) == 2
    assert all(re.match(r"FROM python:3\.\d+-slim-\w+", stage) for stage in stages)
    assert [line for line in lines if line.startswith("USER ")] == ["USER 10001:10001"]
    assert any("--require-hashes" in line for line in lines)
