"""What fits together: settings on one side, Serve's numbers on the other, which Ray does not know to be related."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from serve_app.configs.deployment import Deployment
from serve_app.configs.finding import Finding, Place
from serve_app.settings import Settings

ALL = ("Ingress", "SwapPipeline", "FaceDetector", "FaceSwapper")


def together(settings: Settings, listed: Mapping[str, Deployment], at: Place) -> Iterator[Finding]:
    """at: the application."""
    for name in ALL:
        if name not in listed:
            yield Finding(
                (*at, "deployments"), f"{name} is not listed, so it has Ray's defaults: 5 requests at a time, 1 CPU", harmless=True
            )
    every = {name: listed.get(name, Deployment(name, (*at, "deployments"))) for name in ALL}
    seen = {}
    for name, one in every.items():
        seen[name] = settings
        yield from _scaling(one)
        try:
            seen[name] = settings.changed(name, one.user_config)
        except ValueError as error:
            yield Finding((*one.place, "user_config"), str(error))
    ingress, pipeline, detector, swapper = (seen[name] for name in ALL)
    yield from _ingress(settings, every["Ingress"])
    place = _said_in(every["Ingress"], at, "ingress", "max_dispatched")
    yield from _dispatching(ingress.ingress.max_dispatched, every["Ingress"], every["SwapPipeline"], place)
    batches = 2 * swapper.swapper.slots * max(swapper.swapper.buckets)
    place = _said_in(every["SwapPipeline"], at, "pipeline", "in_flight")
    yield from _claims(pipeline.in_flight, batches, every["SwapPipeline"], every["FaceSwapper"], place)
    begun = pipeline.in_flight * every["SwapPipeline"].most
    for one, buckets in ((every["FaceDetector"], detector.detector.buckets), (every["FaceSwapper"], swapper.swapper.buckets)):
        yield from _models(settings, one, max(buckets), begun, (*at, "args"))


def outward(settings: Settings, at: Place) -> Iterator[Finding]:
    """Of a service that others can reach. at: its settings."""
    if settings.allow_open:
        text = "whoever reaches the service may use it, as long as there is no key: make one (faceswap key create) and leave this out"
        yield Finding((*at, "allow_open"), text, harmless=True)
    if any(network.is_loopback for network in settings.egress.allow_private):
        text = "whoever may submit can call what listens on loopback of the service's machine: leave loopback out"
        yield Finding((*at, "egress", "allow_private"), text, harmless=True)


def _said_in(one: Deployment, application: Place, group: str, name: str) -> Place:
    """Where a setting of this deployment stands: its own word comes before `args`."""
    live = one.user_config.get(group)
    start = (*one.place, "user_config") if isinstance(live, Mapping) and name in live else (*application, "args")
    return (*start, group, name)


def _ingress(settings: Settings, ingress: Deployment) -> Iterator[Finding]:
    if settings.limits.max_bodies >= ingress.ongoing:
        text = f"must be above limits.max_bodies, {settings.limits.max_bodies}: slow uploads would keep everybody else out"
        yield Finding((*ingress.place, "max_ongoing_requests"), f"{text}, from {ingress.ongoing} places")
    if ingress.least < 1:
        text = "must be at least 1: callbacks, the recovery of lost tasks and the sweep live in Ingress"
        yield Finding((*ingress.place, "autoscaling_config", "min_replicas"), text)


def _dispatching(each: int, ingress: Deployment, pipeline: Deployment, at: Place) -> Iterator[Finding]:
    """each: calls in flight of one Ingress."""
    calls, places = each * ingress.most, pipeline.ongoing * max(1, pipeline.least)
    if calls >= places:
        yield Finding(
            at,
            f"{calls} calls ({each} from each of {ingress.most} Ingress) must be below {places}, the max_ongoing_requests of the "
            f"{max(1, pipeline.least)} SwapPipeline that are always there: without a free place Ray's router sleeps between its tries",
        )
    if pipeline.scaling and pipeline.scaling.target_ongoing_requests:
        wanted = pipeline.scaling.target_ongoing_requests * pipeline.most
        fewest = each * max(1, ingress.least)
        if fewest < wanted:
            text = f"with {fewest} calls SwapPipeline never grows to {pipeline.most} replicas, for which Serve wants {wanted:g}"
            yield Finding(at, text, harmless=True)


def _claims(each: int, batches: int, pipeline: Deployment, swapper: Deployment, at: Place) -> Iterator[Finding]:
    """each: tasks in one SwapPipeline. batches: items in two batches for every slot of one FaceSwapper."""
    claims, batches = each * pipeline.most, batches * max(1, swapper.most)
    if claims > batches:
        text = (
            f"{claims} tasks ({each} in each of {pipeline.most} SwapPipeline) may be begun at a time, more than {batches}, "
            f"two batches for each of {max(1, swapper.most)} FaceSwapper: what is begun is in order no more, and others' tasks wait for it"
        )
        yield Finding(at, text, harmless=True)


def _scaling(one: Deployment) -> Iterator[Finding]:
    scaling, at = one.scaling, (*one.place, "autoscaling_config")
    if scaling is None:
        return
    target = scaling.target_ongoing_requests
    if target and target > one.ongoing:
        text = f"must not be above max_ongoing_requests, {one.ongoing}; 1.5 to 2 times as many as this is a good number there"
        yield Finding((*at, "target_ongoing_requests"), text)
    if "metrics_interval_s" not in scaling.model_fields_set and one.most > one.least:
        text = "is not set: Ray's 10 s make replicas come 10 s later; 0.5 to 2 is good. Ray calls it deprecated, but reads nothing else"
        yield Finding((*at, "metrics_interval_s"), text, harmless=True)


def _models(settings: Settings, one: Deployment, batch: int, begun: int, at: Place) -> Iterator[Finding]:
    """begun: tasks of all SwapPipeline, each of which has one call in flight to a model at most."""
    options = (*one.place, "ray_actor_options", "num_gpus")
    if settings.provider == "cuda" and not one.gpus:
        yield Finding(
            options, f"must be set, as a part such as 0.5 may be: provider is cuda, and Ray hides all GPUs from {one.name} without it"
        )
    if settings.provider == "cpu" and one.gpus:
        yield Finding((*at, "provider"), f"is cpu, so {one.name} would hold a GPU and not use it; set cuda", harmless=True)
    if settings.provider == "cuda" and settings.family in ("builtin", "fake"):
        yield Finding((*at, "family"), f"{settings.family} runs on the CPU only; provider: cuda is for insightface", harmless=True)
    if batch > one.ongoing:
        yield Finding(
            (*one.place, "max_ongoing_requests"), f"{one.ongoing} never fill a batch of {batch}; 1.5 to 2 times that is good", harmless=True
        )
    elif begun > one.ongoing:
        text = f"{one.ongoing} are fewer than the {begun} tasks of all SwapPipeline: past them Ray's router sleeps between its tries"
        yield Finding((*one.place, "max_ongoing_requests"), text, harmless=True)
