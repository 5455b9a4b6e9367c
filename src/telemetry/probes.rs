//! What probes and scrapers ask of a member over plain HTTP, and what they were told.

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

type Labels<const N: usize> = Family<[(&'static str, &'static str); N], Counter>;

/// Answers to those who ask whether the member is well, and scrapes.
#[derive(Clone, Debug, Default)]
pub struct Probes {
    /// `/health` said that it is well.
    pub healthy: Counter,
    /// `/health` said that it is not.
    pub unhealthy: Counter,
    checks: Family<[(&'static str, &'static str); 2], Gauge>,
    checks_made: Labels<3>,
    scraping: Gauge,
    scraped: Labels<1>,
}

/// A scrape under way. Dropped, it is over.
#[derive(Debug)]
pub struct Scrape(Gauge);

impl Drop for Scrape {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Probes {
    pub(super) fn register(&self, registry: &mut Registry) {
        let name = "etcd_server_health_success";
        registry.register(name, "Answers that the member is well", self.healthy.clone());
        let name = "etcd_server_health_failures";
        registry.register(name, "Answers that the member is not well", self.unhealthy.clone());
        let help = "Whether a check passed when it was made last";
        registry.register("etcd_server_healthcheck", help, self.checks.clone());
        registry.register("etcd_server_healthchecks", "Checks made", self.checks_made.clone());
        let name = "promhttp_metric_handler_requests";
        registry.register(name, "Scrapes answered, by code", self.scraped.clone());
        let name = "promhttp_metric_handler_requests_in_flight";
        registry.register(name, "Scrapes that are being answered", self.scraping.clone());
        for code in ["200", "500", "503"] {
            drop(self.scraped.get_or_create(&[("code", code)]));
        }
    }

    /// A check of a page was made.
    pub fn checked(&self, page: &'static str, check: &'static str, passed: bool) {
        let labels = [("type", page), ("name", check)];
        self.checks.get_or_create(&labels).set(i64::from(passed));
        let status = if passed { "success" } else { "error" };
        let [page, check] = labels;
        self.checks_made.get_or_create(&[page, check, ("status", status)]).inc();
    }

    /// A scrape is being answered, and will be.
    #[must_use]
    pub fn scrape(&self) -> Scrape {
        self.scraping.inc();
        Scrape(self.scraping.clone())
    }

    /// A scrape was answered.
    pub fn scraped(&self) {
        self.scraped.get_or_create(&[("code", "200")]).inc();
    }
}
