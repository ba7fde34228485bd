"""What Prometheus reads at /metrics, in a registry of this service alone."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from latentwire.runtime.serve.inbox import Inbox

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
PACKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """Counters, gauges and histograms of one service."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.accepted = self._counter("packets_accepted", "Packets that are durable, by codec.", "codec")
        self.duplicate = self._counter("packets_duplicate", "Packets that had been accepted before.")
        self.conflict = self._counter("packets_conflict", "Packets under the name of another that had been accepted.")
        self.refused = self._counter("packets_refused", "Packets and requests that were refused, by error.", "reason")
        self.decoded = self._counter("packets_decoded", "Packets that are in the sink, by codec.", "codec")
        self.undecodable = self._counter("packets_undecodable", "Accepted packets that went to quarantine.", "reason")
        self.answered = self._counter(
            "packets_answered", "Packets that were decoded and answered, not stored.", "codec"
        )
        self.sink_failures = self._counter("sink_failures", "Batches that the sink did not take.")
        self.decoder_failures = self._counter(
            "decoder_failures", "Batches that could not be decoded for now, by codec.", "codec"
        )
        self.connections = self._counter(
            "connections_dropped", "Connections that came to nothing, by reason.", "reason"
        )
        self.batch = self._histogram("batch_packets", "Packets of a batch.", PACKETS)
        self.accept = self._histogram("accept_seconds", "From a packet's last byte to its 202.", SECONDS)
        self.decode = self._histogram("decode_seconds", "Decoding of one batch.", SECONDS)
        self.store = self._histogram("store_seconds", "Files of one batch: made, and taken by the sink.", SECONDS)
        self.delivery = self._histogram("delivery_seconds", "From a packet's commit to the sink having it.", SECONDS)

    def watch(self, inbox: Inbox) -> None:
        """Gauges of what waits."""
        self._gauge("packets_waiting", "Packets in the inbox, those in work included.").set_function(
            lambda: inbox.packets
        )
        self._gauge("inbox_bytes", "What they take.").set_function(lambda: inbox.byte_count)

    def render(self) -> bytes:
        """Prometheus' text format."""
        return generate_latest(self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"latentwire_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"latentwire_{name}", text, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"latentwire_{name}", text, buckets=buckets, registry=self.registry)
