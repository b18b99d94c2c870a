//! Counters and gauges for Prometheus. A registry of the node's own, never the global one: two nodes
//! in one process (tests) must not share figures. Names carry no personal data and no label whose
//! values a peer could invent.

use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};

/// The node's figures; clones share them.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    pub decisions_accepted: IntCounter,
    pub submissions_refused: IntCounter,
    pub certificates_issued: IntCounter,
    pub entries_applied: IntCounter,
    pub push_failures: IntCounter,
    pub pull_failures: IntCounter,
    /// Channel messages of members that sent more than their rate.
    pub channel_busy: IntCounter,
    pub leases_granted: IntCounter,
    pub leases_received: IntCounter,
    pub releases: IntCounter,
    /// By reason code of `consent::Refused` and of `wire::exchange::Rejection`.
    pub refusals: IntCounterVec,
    pub presentations_received: IntCounter,
    /// Requests this node sent that ended without a presentation, by outcome.
    pub requests_failed: IntCounterVec,
    /// Seconds from a request's arrival to its answer, at the source.
    pub exchange_seconds: Histogram,
    pub peers: IntGauge,
    pub leases_live: IntGauge,
    pub resident_bytes: IntGauge,
    pub log_size: IntGauge,
    pub commit_queue: IntGauge,
}

impl Metrics {
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let counter = |name: &str, help: &str| -> Result<IntCounter, prometheus::Error> {
            let counter = IntCounter::new(format!("mebuku_{name}"), help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok(counter)
        };
        let gauge = |name: &str, help: &str| -> Result<IntGauge, prometheus::Error> {
            let gauge = IntGauge::new(format!("mebuku_{name}"), help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let by_reason = |name: &str, help: &str| -> Result<IntCounterVec, prometheus::Error> {
            let counters =
                IntCounterVec::new(Opts::new(format!("mebuku_{name}"), help), &["reason"])?;
            registry.register(Box::new(counters.clone()))?;
            Ok(counters)
        };
        let exchange_seconds = Histogram::with_opts(
            HistogramOpts::new(
                "mebuku_exchange_seconds",
                "From a request's arrival to its answer, at the source",
            )
            .buckets(vec![0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2.0]),
        )?;
        registry.register(Box::new(exchange_seconds.clone()))?;
        Ok(Self {
            decisions_accepted: counter("decisions_accepted_total", "Decisions made durable")?,
            submissions_refused: counter("submissions_refused_total", "Submissions not taken")?,
            certificates_issued: counter("certificates_issued_total", "Certificates issued")?,
            entries_applied: counter("entries_applied_total", "Channel entries applied")?,
            push_failures: counter("push_failures_total", "Pushes to a source that failed")?,
            pull_failures: counter("pull_failures_total", "Pulls from a home that failed")?,
            channel_busy: counter("channel_busy_total", "Channel messages beyond a member's rate")?,
            leases_granted: counter("leases_granted_total", "Leases granted to sources")?,
            leases_received: counter("leases_received_total", "Leases received from homes")?,
            releases: counter("releases_total", "Presentations released")?,
            refusals: by_reason("refusals_total", "Requests not answered with a presentation")?,
            presentations_received: counter(
                "presentations_received_total",
                "Presentations received and checked",
            )?,
            requests_failed: by_reason(
                "requests_failed_total",
                "Requests sent that ended without a presentation",
            )?,
            exchange_seconds,
            peers: gauge("peers", "Connections with greeted members")?,
            leases_live: gauge("leases_live", "Channels with a live lease")?,
            resident_bytes: gauge("resident_bytes", "Physical memory of the process")?,
            log_size: gauge("log_size", "Entries of the evidence log")?,
            commit_queue: gauge("commit_queue", "Jobs waiting at the commit point")?,
            registry,
        })
    }

    /// The text exposition format.
    pub fn text(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

/// Physical memory of this process, in bytes, as Linux accounts it.
pub fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_nodes_do_not_share_figures() {
        let (one, other) = (Metrics::new().unwrap(), Metrics::new().unwrap());
        one.releases.inc();
        one.refusals.with_label_values(&["denied"]).inc();
        assert!(one.text().unwrap().contains("mebuku_releases_total 1"));
        assert!(one.text().unwrap().contains("mebuku_refusals_total{reason=\"denied\"} 1"));
        assert!(other.text().unwrap().contains("mebuku_releases_total 0"));
    }

    #[test]
    fn this_process_has_some_memory() {
        assert!(resident_bytes().unwrap() > 1 << 20);
    }
}
