"""What Prometheus sees. A registry of its own; nothing here is global.

Events are counted when they happen; gauges are read from what is true at the scrape. Labels are closed lists or
configured names, never what a caller sent. Money is shown in currency units, a float: for graphs, not for books.
"""

from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Iterable, Mapping
from itertools import accumulate
from math import inf

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from callctl.accounts import Account, WarnTo
from callctl.call.session import Session, State
from callctl.call.takes import Settlement
from callctl.causes import REFUSALS, Refusal
from callctl.clock import SystemClock
from callctl.http.links import Neighbour
from callctl.limits.ids import Alert, Seen
from callctl.money import MICROS

_DECISION_BUCKETS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
HTTP_SWITCH = "http"
OTHER = "other"

Depths = Mapping[str, tuple[int, int | None]]
"""By feed: records that wait, and the age of the oldest in ms (None: nothing waits)."""


class _Decisions(Collector):
    """Verdicts and how long they took, counted by additions alone: the client's own series take 5 us of a decision."""

    def __init__(self) -> None:
        self._verdicts: dict[Refusal | None, int] = dict.fromkeys((None, *REFUSALS), 0)
        self._within = [0] * (len(_DECISION_BUCKETS_S) + 1)
        self._took_s = 0.0
        self._began_s = SystemClock().now().wall_ms / 1000

    def count(self, refusal: Refusal | None, took_s: float) -> None:
        self._verdicts[refusal] += 1
        self._within[bisect_left(_DECISION_BUCKETS_S, took_s)] += 1
        self._took_s += took_s

    def collect(self) -> Iterable[Metric]:
        labels = "verdict", "refusal", "blame"
        verdicts = CounterMetricFamily("callctl_authorizations", "Decisions on calls", labels=labels)
        for refusal, count in self._verdicts.items():
            said = ("allowed", "", "") if refusal is None else ("refused", refusal, REFUSALS[refusal].blame)
            verdicts.add_metric(said, count, created=self._began_s)
        bounds = map(floatToGoString, (*_DECISION_BUCKETS_S, inf))
        within = list(zip(bounds, accumulate(self._within), strict=True))
        name = "callctl_decision_seconds"
        times = HistogramMetricFamily(name, "From question to answer", within, self._took_s)
        times.add_sample(f"{name}_created", {}, self._began_s)
        return verdicts, times


class Metrics:
    """Counters to be called from anywhere on the loop, and the page for /metrics."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)

        def counter(name: str, about: str, *labels: str) -> Counter:
            return Counter(f"callctl_{name}", about, labels, registry=registry)

        def gauge(name: str, about: str, *labels: str) -> Gauge:
            return Gauge(f"callctl_{name}", about, labels, registry=registry)

        self._decisions = _Decisions()
        registry.register(self._decisions)
        self._emergencies = counter("emergency_calls", "Emergency calls; all are let through")
        self._answered = counter("answered_calls", "Calls that were answered")
        self._warnings = counter("warnings", "Announcements that the credit of a call is about to end")
        self._settled = counter("settled", "Charged to customers, in currency units", "currency")
        self._given_back = counter("given_back", "Corrected in customers' favour, in currency units", "currency")
        self._unexpected = counter("unexpected_events", "Events that a call's state has no use for", "state", "event")
        self._overflows = counter("overflows", "Refused because a queue was full", "queue")
        self._not_enforced = counter("limits_not_enforced", "What would have refused a call, were it enforced", "check")
        self._alerts = counter("ids_alerts", "Spend thresholds: alerts, once a day and account", "alert")
        self._lows = counter("low_balances", "Accounts that have fallen below their low_balance")
        self._calls = gauge("active_calls", "Live calls", "switch", "state")
        self._held = gauge("held", "Held of customers, in currency units", "currency")
        self._up = gauge("link_up", "1: the neighbour answers", "kind", "name")
        self._events = counter("link_events", "What has happened to connections", "kind", "name", "event")
        self._told: Tally[tuple[str, str, str]] = Tally()  # of those events
        self._since = gauge("link_since_seconds", "Unix time of the last change", "kind", "name")
        self._depth = gauge("outbox_depth", "CDRs that wait", "feed")
        self._age = gauge("outbox_age_seconds", "Age of the oldest CDR that waits", "feed")

    def decided(self, session: Session, took_s: float) -> None:
        """An authorization was answered, on whichever switch."""
        self._decisions.count(session.refusal, took_s)
        if session.emergency:
            self._emergencies.inc()

    def answered(self, session: Session) -> None:
        self._answered.inc()

    def warned(self, session: Session, left_s: int, to: WarnTo) -> None:
        self._warnings.inc()

    def settled(self, settlement: Settlement) -> None:
        """A customer was charged, or given back (negative)."""
        for post in settlement.posts[:1]:
            counter = self._settled if post.amount >= 0 else self._given_back
            counter.labels(settlement.session.customer.currency).inc(abs(post.amount) / MICROS)

    def unexpected(self, state: str, event: str) -> None:
        self._unexpected.labels(state, event).inc()

    def overflowed(self, queue: str) -> None:
        """Something was refused because `queue` was full."""
        self._overflows.labels(queue).inc()

    def not_enforced(self, check: str) -> None:
        """A call went ahead that a limit would have refused, were it enforced."""
        self._not_enforced.labels(check).inc()

    def alerted(self, session: Session, seen: Seen, alert: Alert) -> None:
        """A spend threshold has something to tell."""
        self._alerts.labels(alert).inc()

    def low(self, session: Session | None, account: Account, left: int, threshold: int) -> None:
        """An account has little money left."""
        self._lows.inc()

    def page(self, live: Iterable[Session], links: Iterable[Neighbour], depths: Depths) -> bytes:
        """The exposition. Takes milliseconds per hundred series: call it off the loop, one at a time."""
        self._show_links(links := tuple(links))
        self._show_calls(live, {link.state.name for link in links} | {HTTP_SWITCH})
        self._depth.clear()
        self._age.clear()
        for feed, (depth, oldest_ms) in depths.items():
            self._depth.labels(feed).set(depth)
            self._age.labels(feed).set((oldest_ms or 0) / 1000)
        return generate_latest(self._registry)

    def _show_links(self, links: Iterable[Neighbour]) -> None:
        self._up.clear()
        self._since.clear()
        for link in links:
            self._up.labels(link.kind, link.state.name).set(link.state.up)
            self._since.labels(link.kind, link.state.name).set(link.state.since_ms / 1000)
            for event, count in link.counts.items():
                labels = (link.kind.value, link.state.name, event)
                told = self._told[labels]
                self._events.labels(*labels).inc(count - told if count >= told else count)  # linked anew: from 0 again
                self._told[labels] = count

    def _show_calls(self, live: Iterable[Session], switches: set[str]) -> None:
        calls: Tally[tuple[str, State]] = Tally()
        held: Tally[str] = Tally()
        for session in live:
            switch = session.call.switch
            calls[switch if switch in switches else OTHER, session.state] += 1
            if session.levels:
                held[session.customer.currency] += session.customer.held
        self._calls.clear()
        self._held.clear()
        for (switch, state), count in calls.items():
            self._calls.labels(switch, state.value).set(count)
        for currency, micros in held.items():
            self._held.labels(currency).set(micros / MICROS)
