"""Counters of the data path and their Prometheus rendering at scrape time.

Labels are bounded: surfaces and states are closed sets, and providers and models beyond SERIES_MAX are counted
under "other", so that a caller cannot grow a metric by inventing names.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable
from typing import Any

from msgspec import Struct

from torana.records import CallEntry

SERIES_MAX = 400  # of 22 lines each: below 10^4 over all metrics (fault matrix, M2)
BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_BUCKETS_US = tuple(int(bound * 1e6) for bound in BUCKETS_S)

Labels = tuple[str, str, str, str]  # surface, provider, model, state


class Series(Struct):
    """What is added up for one set of labels. Money in nano-dollars, times in microseconds."""

    calls: int = 0
    input: int = 0
    output: int = 0
    cost: int = 0
    latency: int = 0
    buckets: list[int] = []


class Counters:
    """One object, written by the gateway's loop only."""

    __slots__ = ("active", "refused", "series")

    def __init__(self) -> None:
        self.series: dict[Labels, Series] = {}
        self.refused: dict[str, int] = {}  # error code -> requests that never became a call
        self.active = 0

    def add(self, entry: CallEntry) -> None:
        """Count a settled call."""
        labels = (entry.surface, entry.provider, entry.model, entry.state)
        series = self.series.get(labels)
        if series is None:
            series = self._new(labels)
        tokens = entry.tokens
        series.calls += 1
        series.input += tokens.input + tokens.cache_read + tokens.cache_write + tokens.cache_write_1h
        series.input += tokens.tool_input
        series.output += tokens.output + tokens.reasoning
        series.cost += entry.cost or 0
        series.latency += entry.latency
        series.buckets[bisect_left(_BUCKETS_US, entry.latency)] += 1

    def refuse(self, code: str) -> None:
        self.refused[code] = self.refused.get(code, 0) + 1

    def _new(self, labels: Labels) -> Series:
        if len(self.series) >= SERIES_MAX:
            labels = (labels[0], "other", "other", labels[3])
        return self.series.setdefault(labels, Series(buckets=[0] * (len(BUCKETS_S) + 1)))


class Scrape:
    """The counters as prometheus_client collects them. `gauges` is asked at scrape time."""

    def __init__(self, counters: Counters, gauges: Callable[[], Iterable[tuple[str, str, float]]]) -> None:
        self._counters = counters
        self._gauges = gauges

    def collect(self) -> Iterable[Any]:  # prometheus_client's Metric objects
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        names = ["surface", "provider", "model", "state"]
        calls = CounterMetricFamily("torana_calls", "Calls settled", labels=names)
        tokens = CounterMetricFamily("torana_tokens", "Tokens accounted", labels=[*names, "direction"])
        cost = CounterMetricFamily("torana_cost_usd", "Cost accounted, US dollars", labels=names)
        latency = HistogramMetricFamily("torana_call_seconds", "Whole call, seconds", labels=names)
        for labels, series in self._counters.series.items():
            calls.add_metric(labels, series.calls)
            tokens.add_metric([*labels, "input"], series.input)
            tokens.add_metric([*labels, "output"], series.output)
            cost.add_metric(labels, series.cost / 1e9)
            latency.add_metric(labels, _cumulative(series.buckets), series.latency / 1e6)
        yield from (calls, tokens, cost, latency)
        refused = CounterMetricFamily(
            "torana_refused", "Requests refused before a call began", labels=["code"]
        )
        for code, count in self._counters.refused.items():
            refused.add_metric([code], count)
        yield refused
        for name, help, value in self._gauges():
            yield GaugeMetricFamily(name, help, value=value)

    def render(self) -> tuple[str, bytes]:
        """(content type, body) in Prometheus' text format."""
        from prometheus_client import CollectorRegistry
        from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

        registry = CollectorRegistry()
        registry.register(self)
        return CONTENT_TYPE_LATEST, generate_latest(registry)


def _cumulative(buckets: list[int]) -> list[tuple[str, float]]:
    total, rows = 0, []
    for bound, count in zip([*map(str, BUCKETS_S), "+Inf"], buckets, strict=True):
        total += count
        rows.append((bound, float(total)))
    return rows
