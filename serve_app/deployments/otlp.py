"""Sends spans to an OpenTelemetry collector, for Ray's RAY_SERVE_TRACING_EXPORTER_IMPORT_PATH."""

from __future__ import annotations

from typing import Any


def exporter() -> list[Any]:
    """Ray Serve calls this in each proxy and replica that it starts. OpenTelemetry's own variables (OTEL_EXPORTER_OTLP_ENDPOINT, ...) say
    where to, OTEL_SERVICE_NAME under which name.

    Raises RuntimeError without the exporter's package.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        text = "tracing needs opentelemetry-exporter-otlp-proto-http: pip install -e '.[otlp]' in the checkout; docs/monitoring.md"
        raise RuntimeError(f"{text} ({error})") from error
    return [BatchSpanProcessor(OTLPSpanExporter())]
