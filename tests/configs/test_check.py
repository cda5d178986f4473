"""`faceswap config check`: the shipped files are right, and each class of mistake in them is found, at its place."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from serve_app.cli import app
from serve_app.configs.check import shipped

ROOT = Path(__file__).resolve().parent.parent.parent
GPU, LOCAL, LAUNCHER, KUBERAY = "config/gpu.yaml", "config/local.yaml", "cluster.yaml", "config/kuberay/rayservice.yaml"
APP = "applications[faceswap]"
IN_KUBERAY = f"spec.serveConfigV2.{APP}"
CLUSTER = "spec.rayClusterConfig"


def check(*files: Path | str) -> Result:
    return CliRunner().invoke(app, ["config", "check", *map(str, files)], terminal_width=200)


def changed(folder: Path, file: str, old: str, new: str) -> Path:
    text = (ROOT / file).read_text()
    assert old in text, f"{file} has changed; so must this test"
    path = folder / Path(file).name
    path.write_text(text.replace(old, new, 1))
    return path


def test_the_shipped_files_are_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    result = check()
    assert result.exit_code == 0
    assert result.stderr == ""
    assert result.stdout.splitlines() == [f"{file}: fine" for file in (LAUNCHER, GPU, LOCAL, KUBERAY)]


def test_without_files_it_says_where_it_looked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shipped(tmp_path) == []
    monkeypatch.chdir(tmp_path)
    result = check()
    assert result.exit_code == 1
    assert "name the files" in result.stderr


SERVE = [
    ("request_timeout_s: 120", "request_timeout: 120", "http_options.request_timeout: unknown key; did you mean request_timeout_s?"),
    ("proxy_location", "proxy_locations", "proxy_locations: unknown key; did you mean proxy_location?"),
    ("EveryNode", "EveryHost", "proxy_location: Input should be"),
    (
        "max_ongoing_requests: 2000",
        "max_ongoing: 2000",
        f"{APP}.deployments[Ingress].max_ongoing: unknown key; did you mean max_ongoing_requests?",
    ),
    ("max_ongoing_requests: 2000", "max_constructor_retry_count: 2", "max_constructor_retry_count: unknown key"),
    (
        "max_ongoing_requests: 2000",
        "max_ongoing_requests: lots",
        f"{APP}.deployments[Ingress].max_ongoing_requests: Input should be a valid integer",
    ),
    ("num_gpus: 0.4", "num_gpu: 0.4", f"{APP}.deployments[FaceDetector].ray_actor_options.num_gpu: unknown key; did you mean num_gpus?"),
    (
        "min_replicas: 1",
        "min_replica: 1",
        f"{APP}.deployments[SwapPipeline].autoscaling_config.min_replica: unknown key; did you mean min_replicas?",
    ),
    (
        "max_replicas: 4",
        "max_replicas: 0",
        f"{APP}.deployments[SwapPipeline].autoscaling_config.max_replicas: Input should be greater than 0",
    ),
    ("min_replicas: 1", "min_replicas: 9", f"{APP}.deployments[SwapPipeline].autoscaling_config: max_replicas (4) must be"),
    ("num_replicas: 2", "num_replicas: 2\n        autoscaling_config: {max_replicas: 3}", "Manually setting num_replicas is not allowed"),
    (
        "name: FaceSwapper",
        "name: FaceSwaper",
        f"{APP}.deployments[FaceSwaper].name: there is no deployment FaceSwaper; did you mean FaceSwapper?",
    ),
    ("serve_app.app:build", "serve_app.app:built", f"{APP}.import_path: serve_app.app has no built; did you mean build?"),
    ("serve_app.app:build", "serve_ap.app:build", f"{APP}.import_path: cannot be imported here: No module named 'serve_ap'"),
    ("max_dispatched: 48", "max_dispached: 48", f"{APP}.args.ingress.max_dispached: unknown key; did you mean max_dispatched?"),
    ("precision: fast", "precision: quick", f"{APP}.args.precision: Input should be 'exact' or 'fast', not 'quick'"),
    ("in_flight: 16", "renew_s: 20", f"{APP}.args.pipeline: renew_s 20.0 must be at most half of lease_s 30.0"),
    ("in_flight: 16", "in_flight: 40", "args.pipeline.in_flight: warning: 160 tasks (40 in each of 4 SwapPipeline) may be begun"),
    (
        "num_replicas: 2",
        "num_replicas: 2\n        user_config: {limits: {max_bodies: 9}}",
        f"{APP}.deployments[Ingress].user_config: user_config of Ingress cannot change limits.max_bodies",
    ),
    (
        "max_dispatched: 48",
        "max_dispatched: 128",
        f"{APP}.args.ingress.max_dispatched: 256 calls (128 from each of 2 Ingress) must be below 256",
    ),
    (
        "num_replicas: 2",
        "num_replicas: 2\n        user_config: {ingress: {max_dispatched: 500}}",
        f"{APP}.deployments[Ingress].user_config.ingress.max_dispatched: 1000 calls (500 from each of 2 Ingress) must be below 256",
    ),
    (
        "num_cpus: 2",
        "num_cpus: 2}\n        user_config: {pipeline: {in_flight: 40}",
        f"{APP}.deployments[SwapPipeline].user_config.pipeline.in_flight: warning: 160 tasks (40 in each of 4 SwapPipeline) may be begun",
    ),
    (
        "in_flight: 16",
        "in_flight: 17",
        f"{APP}.deployments[FaceSwapper].max_ongoing_requests: warning: 64 are fewer than the 68 tasks of all SwapPipeline",
    ),
    (
        "max_dispatched: 48",
        "max_dispatched: 8",
        "args.ingress.max_dispatched: warning: with 16 calls SwapPipeline never grows to 4 replicas",
    ),
    (
        "max_ongoing_requests: 2000",
        "max_ongoing_requests: 100",
        f"{APP}.deployments[Ingress].max_ongoing_requests: must be above limits.max_bodies, 128",
    ),
    (
        "num_replicas: 2",
        "autoscaling_config: {min_replicas: 0}",
        f"{APP}.deployments[Ingress].autoscaling_config.min_replicas: must be at least 1",
    ),
    (
        "max_ongoing_requests: 64",
        "max_ongoing_requests: 7",
        f"{APP}.deployments[FaceSwapper].autoscaling_config.target_ongoing_requests: must not",
    ),
    (
        "swapper: {buckets: [1, 2, 4, 8]",
        "swapper: {buckets: [1, 96]",
        f"{APP}.deployments[FaceSwapper].max_ongoing_requests: warning: 64 never fill a batch of 96",
    ),
    (
        "metrics_interval_s: 0.5",
        "initial_replicas: 1",
        f"{APP}.deployments[SwapPipeline].autoscaling_config.metrics_interval_s: warning: is not set",
    ),
    ("look_back_period_s: 2", "look_back_period_s: 0.1", "autoscaling_config: warning: `look_back_period_s` (0.1) must be greater than"),
    (", num_gpus: 0.4", "", f"{APP}.deployments[FaceDetector].ray_actor_options.num_gpus: must be set"),
    ("provider: cuda", "provider: cpu", f"{APP}.args.provider: warning: is cpu, so FaceDetector would hold a GPU"),
    ("family: insightface", "family: builtin", f"{APP}.args.family: warning: builtin runs on the CPU only"),
    ("precision: fast", "allow_open: true", f"{APP}.args.allow_open: warning: whoever reaches"),
    ("precision: fast", "egress: {allow_private: [127.0.0.0/8]}", f"{APP}.args.egress.allow_private: warning: whoever may submit"),
    ("num_cpus: 2", "runtime_env: {pips: []}", "ray_actor_options.runtime_env.pips: unknown key; did you mean pip?"),
    (
        "num_cpus: 2",
        "runtime_env: {env_vars: {FACESWAP_SECRT: x}}",
        "env_vars.FACESWAP_SECRT: there is no such variable; did you mean FACESWAP_SECRET?",
    ),
    ("num_cpus: 2", "num_cpus: 2, num_cpus: 3", "the key num_cpus stands twice"),
    ("route_prefix: /", "route_prefix: [", "line "),
]


@pytest.mark.parametrize(("old", "new", "said"), SERVE, ids=[new for _, new, _ in SERVE])
def test_a_mistake_in_a_serve_config_is_found(tmp_path: Path, old: str, new: str, said: str) -> None:
    file = changed(tmp_path, GPU, old, new)
    result = check(file)
    assert f"{file}: {said}" in result.stderr or said in result.stderr
    assert result.exit_code == (0 if "warning: " in said else 1)


def test_a_deployment_that_is_left_out_is_said(tmp_path: Path) -> None:
    text = (ROOT / LOCAL).read_text()
    file = tmp_path / "local.yaml"
    file.write_text(text[: text.index("      - name: FaceSwapper")])
    assert "FaceSwapper is not listed, so it has Ray's defaults" in check(file).stderr


@pytest.mark.parametrize(
    "text", ["applications: []", "applications: no", "applications: [{name: a, import_path: 'a:b', deployments: [x]}]"]
)
def test_a_file_of_another_shape_is_refused_without_a_trace(tmp_path: Path, text: str) -> None:
    (file := tmp_path / "odd.yaml").write_text(text)
    result = check(file)
    assert result.exit_code == 1
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert f"{file}: " in result.stderr


@pytest.mark.parametrize(("text", "said"), [("a: 1", "is neither"), ("", "is neither"), ("\x00", "not allowed"), (None, "No such file")])
def test_a_file_that_is_no_config_is_refused(tmp_path: Path, text: str | None, said: str) -> None:
    file = tmp_path / "odd.yaml"
    if text is not None:
        file.write_text(text)
    result = check(file)
    assert result.exit_code == 1
    assert said in result.stderr


def opened(ports: str, source: str = "IpRanges: [{CidrIp: 0.0.0.0/0}]", protocol: str = "tcp") -> str:
    """A security group with this one rule."""
    return f"security_group: {{IpPermissions: [{{IpProtocol: {protocol}, {ports}{source}}}]}}"


RULE = "provider.security_group.IpPermissions[0]: opens to everybody: "
LAUNCH = [
    ("max_workers: 4", "max_worker: 4", "max_worker: unknown key; did you mean max_workers?"),
    ("min_workers: 1", "min_worker: 1", "available_node_types.gpu.min_worker: unknown key; did you mean min_workers?"),
    ("min_workers: 1", "min_workers: one", "available_node_types.gpu.min_workers: 'one' is not of type 'integer'"),
    ("min_workers: 1", "min_workers: 5", "max_workers"),
    ("head_node_type: head", "head_node_type: heat", "`head_node_type` must be one of `available_node_types`"),
    ("cluster_name: faceswap", "", "'cluster_name' is a required property"),
    ("--dashboard-host=127.0.0.1", "--dashboard-host=0.0.0.0", "head_start_ray_commands[1]: warning: opens the dashboard on 0.0.0.0: 8265"),
    ("--dashboard-host=127.0.0.1", "--dashboard-host 0.0.0.0", "head_start_ray_commands[1]: warning: opens the dashboard on 0.0.0.0: 8265"),
    (
        "RAY_AUTH_MODE=token ray start --address",
        "ray start --address",
        "worker_start_ray_commands[1]: warning: starts Ray without RAY_AUTH_MODE",
    ),
    ("region: us-west-2", opened("FromPort: 8000, ToPort: 9000, "), f"{RULE}8265"),
    ("region: us-west-2", opened("FromPort: 10002, ToPort: 52364, "), f"{RULE}10002 to 52364; of the ports above 1024 only 8000 is"),
    ("region: us-west-2", opened("FromPort: 8001, ToPort: 8001, "), f"{RULE}8001; "),
    ("region: us-west-2", opened("", "Ipv6Ranges: [{CidrIpv6: '::/0'}]", "'-1'"), f"{RULE}6379"),
    (
        "RAY_AUTH_MODE=token ray start --head",
        "RAY_SERVE_ENABLE_HA_PROXY=1 RAY_AUTH_MODE=token ray start --head",
        "warning: needs RAY_SERVE_HAPROXY_BINARY_PATH beside it",
    ),
    ("--env-file /etc/faceswap.env", "-e FACESWAP_DATABASE=x", "there is no such variable; did you mean FACESWAP_DATABASE_URL?"),
]


@pytest.mark.parametrize(("old", "new", "said"), LAUNCH, ids=[new for _, new, _ in LAUNCH])
def test_a_mistake_in_a_file_of_the_launcher_is_found(tmp_path: Path, old: str, new: str, said: str) -> None:
    result = check(changed(tmp_path, LAUNCHER, old, new))
    assert said in result.stderr
    assert result.exit_code == (0 if "warning: " in said else 1)


FINE = [
    opened("FromPort: 22, ToPort: 22, "),
    opened("FromPort: 8000, ToPort: 8000, "),
    opened("FromPort: 8, ToPort: -1, ", protocol="icmp"),
    opened("FromPort: 51820, ToPort: 51820, ", protocol="udp"),
    opened("FromPort: 0, ToPort: 65535, ", "IpRanges: [{CidrIp: 10.0.0.0/16}]"),
]


@pytest.mark.parametrize("group", FINE)
def test_what_a_security_group_may_open(tmp_path: Path, group: str) -> None:
    result = check(changed(tmp_path, LAUNCHER, "region: us-west-2", f"region: us-west-2\n  {group}"))
    assert result.stderr == ""
    assert result.exit_code == 0


def test_the_machines_of_ones_own_in_the_comment_are_right(tmp_path: Path) -> None:
    """The block `provider: local` of cluster.yaml, put in place of those that the comment names."""
    lines = (ROOT / LAUNCHER).read_text().splitlines()
    start = lines.index("# provider:")
    out = re.findall(r"`(\w+)`", "".join(lines[lines.index("# Machines of your own instead:") : start]))
    block = [line.removeprefix("# ") for line in lines[start : start + 5]]
    assert block[-1].startswith("auth: ")
    kept, leave_out = [], False
    for line in lines:
        if line and not line.startswith((" ", "#")):
            leave_out = line.partition(":")[0] in out
        if not leave_out:
            kept.append(line)
    (file := tmp_path / "cluster.yaml").write_text("\n".join([*kept, *block]))
    result = check(file)
    assert result.stderr == ""
    assert result.exit_code == 0


OPERATED = [
    ("excludeHeadPodFromServeSvc", "excludeHeadPodFromServeSvcs", "spec.excludeHeadPodFromServeSvcs: unknown key; did you mean"),
    ("groupName: gpu", "groupname: gpu", f"{CLUSTER}.workerGroupSpecs[0].groupname: unknown key; did you mean groupName?"),
    ("maxReplicas: 4", "maxReplicas: 0", f"{CLUSTER}.workerGroupSpecs[gpu].maxReplicas: Input should be greater than or equal to 1"),
    ("  replicas: 1", "  replicas: 7", f"{CLUSTER}.workerGroupSpecs[gpu].replicas: must be between 1 and 4"),
    ("rayVersion: ", "rayVersion: '1.13' #", f"{CLUSTER}.rayVersion: is 1.13, but this release runs on Ray"),
    ("authOptions: {mode: token}", "suspend: false", f"{CLUSTER}.authOptions: must say mode: token"),
    ("type: NewCluster}", "type: BlueGreen}", "spec.upgradeStrategy.type: Input should be"),
    ("max_ongoing_requests: 2000", "max_ongoing: 2000", f"{IN_KUBERAY}.deployments[Ingress].max_ongoing: unknown key"),
    ("max_dispatched: 48", "max_dispatched: 128", f"{IN_KUBERAY}.args.ingress.max_dispatched: 256 calls"),
    ("serveConfigV2: |", "serveConfigV2: >", "spec.serveConfigV2"),
    (
        'dashboard-host: "0.0.0.0"',
        "dashboard-port: 1",
        f"{CLUSTER}.headGroupSpec.rayStartParams.dashboard-port: Input should be a valid string",
    ),
    (
        "rayStartParams: {num-cpus",
        "serviceType: LoadBalancer\n      rayStartParams: {num-cpus",
        f"{CLUSTER}.headGroupSpec.serviceType: LoadBalancer opens",
    ),
    (
        "rayStartParams: {num-cpus",
        "enableIngress: true\n      rayStartParams: {num-cpus",
        f"{CLUSTER}.headGroupSpec.enableIngress: opens 8265",
    ),
    ("automountServiceAccountToken: true", "hostNetwork: true", f"{CLUSTER}.headGroupSpec.template.spec.hostNetwork: opens"),
    (
        "- name: ray-head",
        "- name: ray-head\n              ports: [{containerPort: 8265, hostPort: 8265}]",
        "containers[ray-head].ports[0]: opens",
    ),
    ("kind: NetworkPolicy", "kind: ConfigMap", f"{CLUSTER}.headGroupSpec: warning: every pod of the Kubernetes cluster reaches 6379"),
    (
        "podSelector: &pods {matchLabels: {app: faceswap}}",
        "podSelector: &pods {matchLabels: {app: fs}}",
        "headGroupSpec: warning: every pod",
    ),
    ("podSelector: &pods {matchLabels: {app: faceswap}}", "podSelector: &pods {matchLabels: {app: fs}}", "[gpu]: warning: every pod"),
    ("policyTypes: [Ingress]", "policyTypes: [Egress]", f"{CLUSTER}.headGroupSpec: warning: every pod"),
    (
        "metadata: {name: faceswap}\nspec:\n  podSelector",
        "metadata: {name: faceswap, namespace: b}\nspec:\n  podSelector",
        "warning: every pod",
    ),
    ("envFrom: *environment\n", "\n", f"{CLUSTER}.workerGroupSpecs[gpu].template: warning: the envFrom of the Ray container"),
    ("env: *drain", "env: [{name: FACESWAP_BLOB_URL}]", "there is no such variable; did you mean FACESWAP_BLOBS_URL?"),
    ('nvidia.com/gpu: "1"}', "}", f"{CLUSTER}.workerGroupSpecs: a replica wants 0.6 GPUs, but no pod has nvidia.com/gpu"),
    (
        "maxReplicas: 4",
        "maxReplicas: 2",
        f"{CLUSTER}.workerGroupSpecs: warning: all replicas together may want 4 GPUs, all pods together have 2",
    ),
]


@pytest.mark.parametrize(("old", "new", "said"), OPERATED, ids=[new for _, new, _ in OPERATED])
def test_a_mistake_in_a_rayservice_is_found(tmp_path: Path, old: str, new: str, said: str) -> None:
    result = check(changed(tmp_path, KUBERAY, old, new))
    assert said in result.stderr
    assert result.exit_code == (0 if "warning: " in said else 1)
