"""deploy/ray: parsed, and its fields held against what `rowcast serve` and its server take."""

from __future__ import annotations

import re
import shlex
from typing import Any

import yaml
from rowcast_server.config import ServerConfig
from rowcast_server.serve_options import parse

from tests.deploy.front import DEPLOY

FOLDER = DEPLOY / "ray"
GCS_PORT = 6379


def gateway_of(command: str) -> tuple[list[str], ServerConfig]:
    """The options of the `rowcast serve` in a shell command, and what they ask for."""
    words = shlex.split(command.partition("rowcast serve ")[2])
    return words, parse(words)[1]


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pod["template"]["spec"]["containers"]
    return found


def test_the_cluster_launchers_file_starts_a_head_workers_and_a_gateway() -> None:
    cluster = yaml.safe_load((FOLDER / "cluster.yaml").read_text("utf-8"))
    workers = cluster["provider"]["worker_ips"]
    assert cluster["max_workers"] == len(workers)
    assert any("rowcast[server,torch,ray]" in each for each in cluster["setup_commands"])
    head = " ".join(cluster["head_start_ray_commands"])
    assert f"ray start --head --port={GCS_PORT}" in head
    _, config = gateway_of(head)
    assert config.cluster == f"{cluster['provider']['head_ip']}:{GCS_PORT}"
    assert (config.replicas, config.replica_gpus) == (len(workers), 1.0)
    assert not config.is_local
    assert config.token_file is not None
    worker = " ".join(cluster["worker_start_ray_commands"])
    assert f"ray start --address=$RAY_HEAD_IP:{GCS_PORT} --num-gpus=1" in worker


def test_kuberays_file_has_a_gpu_for_each_replica_and_gateways_that_can_drain() -> None:
    text = (FOLDER / "kuberay.yaml").read_text("utf-8")
    cluster, gateways, service, budget = yaml.safe_load_all(text)
    assert (cluster["apiVersion"], cluster["kind"]) == ("ray.io/v1", "RayCluster")
    spec = cluster["spec"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", spec["rayVersion"])
    (group,) = spec["workerGroupSpecs"]
    assert group["minReplicas"] == group["replicas"] == group["maxReplicas"]
    (worker,) = containers(group)
    (gateway,) = containers(gateways["spec"])
    (command,) = gateway["args"]
    assert f"--address={cluster['metadata']['name']}-head-svc:{GCS_PORT}" in command
    assert "--num-cpus=0" in command
    _, config = gateway_of(command)
    assert config.cluster == "auto"
    assert config.replicas == group["replicas"]
    assert str(int(config.replica_gpus)) == worker["resources"]["limits"]["nvidia.com/gpu"]
    pod = gateways["spec"]["template"]["spec"]
    assert config.drain < pod["terminationGracePeriodSeconds"]
    (port,) = gateway["ports"]
    assert port["containerPort"] == config.port
    probes = [gateway[f"{kind}Probe"]["httpGet"] for kind in ("readiness", "liveness")]
    assert probes == [{"path": f"/{path}", "port": port["name"]} for path in ("readyz", "livez")]
    (mount,) = gateway["volumeMounts"]
    assert str(config.token_file).startswith(f"{mount['mountPath']}/")
    labels = gateways["spec"]["template"]["metadata"]["labels"]
    assert labels == gateways["spec"]["selector"]["matchLabels"] == service["spec"]["selector"]
    assert labels == budget["spec"]["selector"]["matchLabels"]
    assert budget["spec"]["minAvailable"] < gateways["spec"]["replicas"]
    assert service["spec"]["ports"][0]["targetPort"] == port["name"]
