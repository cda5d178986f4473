"""tracing.py: spans only where somebody began a trace, and a client's traceparent handed on where nobody traces."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from serve_app import tracing

CLIENTS = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """As where Serve has set tracing up, for this module alone."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "_tracer", provider.get_tracer("test"))
    yield exporter
    provider.shutdown()


def parent(span: ReadableSpan) -> int | None:
    return span.parent.span_id if span.parent else None


def test_outside_of_traces_nothing_is_made(spans: InMemorySpanExporter) -> None:
    with tracing.behind(None), tracing.span("submit"):
        assert tracing.here() is None
        with tracing.resumed("swap", None):
            tracing.add("batch", [tracing.present()], 1, 2)
    for wrong in ("", "abc", CLIENTS.replace("0af7", "xyzä"), CLIENTS[:-3], f"{CLIENTS}\r\n"):
        with tracing.behind(wrong):
            assert tracing.trace_id() is None
    assert spans.get_finished_spans() == ()


def test_a_task_goes_on_in_the_trace_that_it_was_submitted_in(spans: InMemorySpanExporter) -> None:
    with tracing.behind(CLIENTS), tracing.span("submit"):
        stored = tracing.here()
    with tracing.behind(CLIENTS.replace("0af7", "ffff")), tracing.span("another"):
        with tracing.resumed("swap", stored, task="1"), tracing.span("decode"):
            here = tracing.present()
        tracing.add("batch", [here, here], 5, 9, size=2)
    found = {span.name: span for span in spans.get_finished_spans()}
    submit, swap, another = (found[name] for name in ("submit", "swap", "another"))
    assert {hex(found[name].context.trace_id)[2:] for name in ("submit", "swap", "decode")} == {CLIENTS[4:35]}
    assert parent(submit) == int("b7ad6b7169203331", 16)
    assert parent(swap) == submit.context.span_id
    assert parent(found["decode"]) == swap.context.span_id
    assert [link.context.span_id for link in swap.links] == [another.context.span_id]
    assert swap.attributes == {"task": "1"}


def test_what_was_done_for_several_is_in_the_trace_of_each(spans: InMemorySpanExporter) -> None:
    with tracing.behind(CLIENTS), tracing.span("one"):
        one = tracing.present()
        with tracing.behind(None), tracing.span("two"):
            tracing.add("batch", [one, tracing.present()], 5, 9, size=3)
    batches = [span for span in spans.get_finished_spans() if span.name == "batch"]
    assert len({parent(span) for span in batches}) == 2
    assert {(span.start_time, span.end_time, span.attributes["size"]) for span in batches if span.attributes} == {(5, 9, 3)}


def test_an_error_leaves_its_type_and_not_its_text(spans: InMemorySpanExporter) -> None:
    with pytest.raises(ValueError, match="hunter2"), tracing.behind(CLIENTS), tracing.span("submit"):
        raise ValueError("hunter2")
    (span,) = spans.get_finished_spans()
    assert (span.status.is_ok, span.status.description) == (False, "ValueError")
    assert "hunter2" not in span.to_json()


def test_without_tracing_the_clients_header_is_handed_on() -> None:
    with tracing.behind(CLIENTS), tracing.span("submit"):
        assert tracing.here() == CLIENTS
    with tracing.resumed("callback", CLIENTS):
        assert tracing.here() == CLIENTS
    assert tracing.here() is None
