"""A RayService of KubeRay 1.7: its keys, the Serve config in it, and what it opens.

Templates of pods are Kubernetes' own, which `kubectl apply` checks; of them only what matters here is looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import ray
from pydantic import BaseModel, ConfigDict, Field

from serve_app.configs import serve
from serve_app.configs.document import parsed
from serve_app.configs.finding import Finding, Place
from serve_app.configs.keys import read, unknown
from serve_app.configs.ports import NEVER_PUBLIC, named
from serve_app.configs.variables import strange

CONFIG: Place = ("spec", "serveConfigV2")
CLUSTER: Place = ("spec", "rayClusterConfig")
GPU = "nvidia.com/gpu"
BY_KUBERAY = {"ray.io/is-ray-node": "yes"}  # labels of every pod that it makes
Kubernetes = dict[str, Any]  # checked by Kubernetes


class Part(BaseModel):
    """Of a kind of Kubernetes' own, what matters here; `kubectl apply` checks the rest."""

    model_config = ConfigDict(extra="allow")


class Port(Part):
    hostPort: int | None = None


class Variable(Part):
    name: str
    value: str | None = None


class Resources(Part):
    limits: dict[str, str | int | float] = {}


class Container(Part):
    image: str | None = None
    env: list[Variable] = []
    envFrom: list[Kubernetes] = []
    ports: list[Port] = []
    resources: Resources = Resources()

    @property
    def gpus(self) -> int:
        text = str(self.resources.limits.get(GPU, 0))
        return int(text) if text.isdigit() else 0


class Metadata(Part):
    namespace: str | None = None
    labels: dict[str, str] = {}


class PodSpec(Part):
    containers: list[Container] = Field(min_length=1)
    hostNetwork: bool = False


class Template(Part):
    spec: PodSpec
    metadata: Metadata = Metadata()

    @property
    def ray(self) -> Container:
        """KubeRay takes the first one for Ray."""
        return self.spec.containers[0]


class ServiceSpec(Part):
    type: str | None = None


class Service(Part):
    spec: ServiceSpec = ServiceSpec()


class HeadGroup(BaseModel):
    template: Template
    enableIngress: bool | None = None
    headService: Service = Service()
    ingressOptions: Kubernetes | None = None
    labels: dict[str, str] | None = None
    rayStartParams: dict[str, str] | None = None
    resources: dict[str, str] | None = None
    serviceType: str | None = None


class WorkerGroup(BaseModel):
    groupName: str
    minReplicas: int = Field(ge=0)
    maxReplicas: int = Field(ge=1)
    template: Template
    replicas: int | None = None
    idleTimeoutSeconds: int | None = None
    labels: dict[str, str] | None = None
    numOfHosts: int | None = None
    priority: int | None = None
    rayStartParams: dict[str, str] | None = None
    resources: dict[str, str] | None = None
    scaleStrategy: Kubernetes | None = None
    suspend: bool | None = None


class Auth(BaseModel):
    mode: Literal["disabled", "token"] | None = None
    enableK8sTokenAuth: bool | None = None
    secretName: str | None = None


class Autoscaler(BaseModel):
    args: list[str] | None = None
    command: list[str] | None = None
    env: list[Kubernetes] | None = None
    envFrom: list[Kubernetes] | None = None
    idleTimeoutSeconds: int | None = None
    image: str | None = None
    imagePullPolicy: str | None = None
    resources: Kubernetes | None = None
    securityContext: Kubernetes | None = None
    upscalingMode: Literal["Default", "Aggressive", "Conservative"] | None = None
    version: Literal["v1", "v2"] | None = None
    volumeMounts: list[Kubernetes] | None = None


class FaultTolerance(BaseModel):
    backend: Literal["redis", "rocksdb"] | None = None
    externalStorageNamespace: str | None = None
    redisAddress: str | None = None
    redisPassword: Kubernetes | None = None
    redisUsername: Kubernetes | None = None
    storage: Kubernetes | None = None


class ClusterUpgrade(BaseModel):
    type: Literal["Recreate", "None"] | None = None


class Cluster(BaseModel):
    headGroupSpec: HeadGroup
    workerGroupSpecs: list[WorkerGroup] = []
    authOptions: Auth | None = None
    autoscalerOptions: Autoscaler | None = None
    enableInTreeAutoscaling: bool | None = None
    gcsFaultToleranceOptions: FaultTolerance | None = None
    headServiceAnnotations: dict[str, str] | None = None
    historyServerOptions: Kubernetes | None = None
    managedBy: str | None = None
    networkPolicy: Kubernetes | None = None
    rayVersion: str | None = None
    suspend: bool | None = None
    tlsOptions: Kubernetes | None = None
    upgradeStrategy: ClusterUpgrade | None = None


class Upgrade(BaseModel):
    type: Literal["NewCluster", "NewClusterWithIncrementalUpgrade", "None"] | None = None
    clusterUpgradeOptions: Kubernetes | None = None


class Spec(BaseModel):
    rayClusterConfig: Cluster
    serveConfigV2: Any = None
    deploymentUnhealthySecondThreshold: int | None = None
    excludeHeadPodFromServeSvc: bool | None = None
    managedBy: str | None = None
    rayClusterDeletionDelaySeconds: int | None = None
    serveService: Kubernetes | None = None
    serviceUnhealthySecondThreshold: int | None = None
    suspend: bool | None = None
    upgradeStrategy: Upgrade | None = None


class RayService(BaseModel):
    apiVersion: Literal["ray.io/v1"]
    kind: Literal["RayService"]
    metadata: Metadata
    spec: Spec
    status: Kubernetes | None = None


class Selector(Part):
    matchLabels: dict[str, str] = {}
    matchExpressions: list[Kubernetes] = []


class PolicySpec(Part):
    podSelector: Selector = Selector()
    policyTypes: list[str] = ["Ingress"]


class NetworkPolicy(Part):
    metadata: Metadata = Metadata()
    spec: PolicySpec = PolicySpec()

    def covers(self, template: Template, namespace: str | None) -> bool:
        """Whether it shuts who may come in. Expressions of a selector are not read: they may leave the pod out."""
        labels = template.metadata.labels | BY_KUBERAY
        chosen = self.spec.podSelector.matchLabels.items() <= labels.items() and not self.spec.podSelector.matchExpressions
        return chosen and "Ingress" in self.spec.policyTypes and self.metadata.namespace == namespace


def opened(document: dict[str, Any]) -> dict[str, Any]:
    """The same with the Serve config, a text, as the document that it holds. Raises ValueError where it holds none."""
    spec = document.get("spec")
    if not isinstance(spec, dict) or not isinstance(text := spec.get("serveConfigV2"), str):
        return document
    inner = parsed(text)
    if len(inner) != 1:
        raise ValueError("spec.serveConfigV2: must hold one Serve config")
    return document | {"spec": spec | {"serveConfigV2": inner[0]}}


def check(document: dict[str, Any], policies: list[Kubernetes]) -> list[Finding]:
    """document: as `opened`. policies: each NetworkPolicy that stands beside it."""
    found = [*unknown(RayService, document)]
    service = read(RayService, document, (), found)
    if service is None:
        return found
    config, cluster = service.spec.serveConfigV2, service.spec.rayClusterConfig
    if not isinstance(config, dict):
        return [*found, Finding(CONFIG, "must be a text that holds a Serve config")]
    inner = serve.check(config, CONFIG)
    found += inner
    found += _closed(cluster)
    if cluster.networkPolicy is None:
        beside = [one for policy in policies if (one := read(NetworkPolicy, policy, (), found))]
        found += _fenced(cluster, beside, service.metadata.namespace)
    if cluster.rayVersion != ray.__version__:
        found.append(Finding((*CLUSTER, "rayVersion"), f"is {cluster.rayVersion}, but this release runs on Ray {ray.__version__}"))
    head, workers = cluster.headGroupSpec.template, cluster.workerGroupSpecs
    found += _pod(head, (*CLUSTER, "headGroupSpec", "template"))
    for number, group in enumerate(workers):
        place = (*CLUSTER, "workerGroupSpecs", number)
        if group.replicas is not None and not group.minReplicas <= group.replicas <= group.maxReplicas:
            found.append(Finding((*place, "replicas"), f"must be between {group.minReplicas} and {group.maxReplicas}"))
        found += _pod(group.template, (*place, "template"))
        found += _alike(group.template.ray, head.ray, (*place, "template"))
    if all(one.harmless for one in inner):
        found += _room(config, workers)
    return found


def _closed(cluster: Cluster) -> Iterator[Finding]:
    head: Place = (*CLUSTER, "headGroupSpec")
    if cluster.authOptions is None or cluster.authOptions.mode != "token":
        text = "must say mode: token; without one every pod that reaches the head can run code in the cluster"
        yield Finding((*CLUSTER, "authOptions"), text)
    group = cluster.headGroupSpec
    for place, kind in (((*head, "serviceType"), group.serviceType), ((*head, "headService", "spec", "type"), group.headService.spec.type)):
        if kind in ("LoadBalancer", "NodePort"):
            yield Finding(place, f"{kind} opens to the outside: {named({6379, 8265, 10001})}; only the serve service is for clients")
    if group.enableIngress:
        yield Finding((*head, "enableIngress"), f"opens {named({8265})}; use `kubectl port-forward`")


def _fenced(cluster: Cluster, policies: list[NetworkPolicy], namespace: str | None) -> Iterator[Finding]:
    groups = [("headGroupSpec",), *(("workerGroupSpecs", number) for number in range(len(cluster.workerGroupSpecs)))]
    templates = [cluster.headGroupSpec.template, *(group.template for group in cluster.workerGroupSpecs)]
    for place, template in zip(groups, templates, strict=True):
        if not any(policy.covers(template, namespace) for policy in policies):
            ports = named({6379, 8265, 10001} if template is cluster.headGroupSpec.template else {52365})
            text = f"every pod of the Kubernetes cluster reaches {ports}: add a NetworkPolicy to this file that selects these pods"
            yield Finding((*CLUSTER, *place), text, harmless=True)


def _pod(template: Template, at: Place) -> Iterator[Finding]:
    if template.spec.hostNetwork:
        yield Finding((*at, "spec", "hostNetwork"), f"opens on the machine's own address: {named(NEVER_PUBLIC)}")
    for number, container in enumerate(template.spec.containers):
        place = (*at, "spec", "containers", number)
        for index, port in enumerate(container.ports):
            if port.hostPort in NEVER_PUBLIC:
                yield Finding((*place, "ports", index), f"opens on the machine's own address: {named([port.hostPort])}")
        yield from strange({one.name: one.value for one in container.env}, (*place, "env"))


def _alike(worker: Container, head: Container, at: Place) -> Iterator[Finding]:
    """build() runs on any node, replicas on all: each needs the same image and environment."""
    for key in ("image", "env", "envFrom"):
        if getattr(worker, key) != getattr(head, key):
            text = f"the {key} of the Ray container is not that of the head's; every node needs the same"
            yield Finding(at, text, harmless=True)


def _room(config: Kubernetes, workers: list[WorkerGroup]) -> Iterator[Finding]:
    """GPUs that all replicas together may want, and those that pods may bring."""
    listed = [one for application in config["applications"] for one in serve.deployments(application, (), [])]
    wanted, largest = sum(one.gpus * one.most for one in listed), max((one.gpus for one in listed), default=0)
    there = sum(group.template.ray.gpus * group.maxReplicas for group in workers)
    place: Place = (*CLUSTER, "workerGroupSpecs")
    if largest > max((group.template.ray.gpus for group in workers), default=0):
        yield Finding(place, f"a replica wants {largest:g} GPUs, but no pod has {GPU} for it: it would wait for ever")
    elif wanted > there:
        yield Finding(place, f"all replicas together may want {wanted:g} GPUs, all pods together have {there}", harmless=True)
