"""Spans of OpenTelemetry, for traces that somebody else began: Ray Serve's proxy, or a client whose `traceparent` came in.

Only its API is used here. Where nobody set tracing up, spans are never made, and a client's `traceparent` is handed on as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Link, Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

__all__ = ["Context", "SpanKind"]

HEADER = "traceparent"

_tracer = trace.get_tracer("faceswap-serve")
_w3c = TraceContextTextMapPropagator()


def here() -> str | None:
    """The present span, as W3C's `traceparent`; None outside of traces."""
    carrier: dict[str, str] = {}
    _w3c.inject(carrier)
    return carrier.get(HEADER)


def trace_id() -> str | None:
    """In hex, of the present trace."""
    found = trace.get_current_span().get_span_context()
    return trace.format_trace_id(found.trace_id) if found.is_valid else None


def present() -> Context:
    return contexts.get_current()


@contextmanager
def behind(traceparent: str | None) -> Iterator[None]:
    """The block belongs to the trace that a header names, unless it is part of one already. What is no traceparent is as good as none."""
    if traceparent is None or trace.get_current_span().get_span_context().is_valid:
        yield
        return
    token = contexts.attach(_named(traceparent))
    try:
        yield
    finally:
        contexts.detach(token)


@contextmanager
def span(name: str, kind: SpanKind = SpanKind.INTERNAL, **attributes: str | int) -> Iterator[Span]:
    """One more span of the present trace; outside of traces none."""
    with _begun(name, contexts.get_current(), kind, (), attributes) as begun:
        yield begun


@contextmanager
def resumed(name: str, traceparent: str | None, kind: SpanKind = SpanKind.CONSUMER, **attributes: str | int) -> Iterator[Span]:
    """One more span of the trace in which a task was submitted, in whatever process and however much later. Linked to the present trace."""
    around = trace.get_current_span().get_span_context()
    with _begun(name, _named(traceparent), kind, [Link(around)] if around.is_valid else [], attributes) as begun:
        yield begun


def add(name: str, parents: Iterable[Context], start_ns: int, end_ns: int, **attributes: str | int) -> None:
    """A span that is over, in the trace of each of these: work that was done for all of them together."""
    for parent in parents:
        if trace.get_current_span(parent).is_recording():
            _tracer.start_span(name, parent, start_time=start_ns, attributes=attributes).end(end_ns)


@contextmanager
def _begun(
    name: str, parent: Context, kind: SpanKind, links: list[Link] | tuple[()], attributes: Mapping[str, str | int]
) -> Iterator[Span]:
    if not trace.get_current_span(parent).get_span_context().is_valid:  # Serve decides which requests begin a trace
        yield INVALID_SPAN
        return
    with _tracer.start_as_current_span(
        name, parent, kind, attributes, links, record_exception=False, set_status_on_exception=False
    ) as begun:
        try:
            yield begun
        except BaseException as error:  # its type alone: texts may quote what a user sent
            begun.set_status(Status(StatusCode.ERROR, type(error).__name__))
            raise


def _named(traceparent: str | None) -> Context:
    return _w3c.extract({HEADER: traceparent} if traceparent else {}, Context())
