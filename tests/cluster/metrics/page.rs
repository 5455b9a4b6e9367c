//! A page of figures, read as Prometheus reads it.

use std::collections::{BTreeMap, BTreeSet};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// One sample: its whole name, its labels, its value.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) name: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) value: f64,
}

/// A page.
#[derive(Debug)]
pub(super) struct Page {
    /// By the names in descriptions.
    pub(super) types: BTreeMap<String, String>,
    pub(super) samples: Vec<Sample>,
}

impl Page {
    pub(super) async fn of(authority: &str) -> Self {
        let (code, text) = get(authority, "/metrics").await;
        assert_eq!(code, 200, "{text}");
        Self::parse(&text)
    }

    fn parse(text: &str) -> Self {
        let (mut types, mut samples) = (BTreeMap::new(), Vec::new());
        for line in text.lines() {
            if let Some((name, kind)) =
                line.strip_prefix("# TYPE ").and_then(|it| it.split_once(' '))
            {
                let before = types.insert(name.to_owned(), kind.to_owned());
                assert_eq!(before, None, "{name} is described twice");
            } else if !line.starts_with('#') && !line.is_empty() {
                samples.push(Self::sample(line));
            }
        }
        Self { types, samples }
    }

    fn sample(line: &str) -> Sample {
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let labels = labels.strip_suffix('}').unwrap().split("\",").filter(|it| !it.is_empty());
        let labels = labels.map(|label| {
            let (name, value) = label.split_once("=\"").unwrap();
            (name.to_owned(), value.trim_end_matches('"').to_owned())
        });
        let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
        Sample { name: name.to_owned(), labels: labels.collect(), value }
    }

    /// The description that a sample belongs to.
    fn described(&self, sample: &str) -> String {
        let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| {
            let name = sample.strip_suffix(end)?;
            matches!(self.types.get(name)?.as_str(), "histogram" | "summary").then_some(name)
        });
        of_histogram.unwrap_or(sample).to_owned()
    }

    /// The names of the labels of each described name that has samples.
    pub(super) fn labels(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut labels = BTreeMap::<_, BTreeSet<_>>::new();
        for sample in &self.samples {
            let described = self.described(&sample.name);
            assert!(self.types.contains_key(&described), "{described} has no type");
            labels.entry(described).or_default().extend(sample.labels.keys().cloned());
        }
        labels
    }

    /// The bounds of a histogram, as text: Prometheus puts buckets together by that.
    pub(super) fn bounds(&self, histogram: &str) -> BTreeSet<String> {
        let name = format!("{histogram}_bucket");
        let buckets = self.samples.iter().filter(|sample| sample.name == name);
        buckets.map(|sample| sample.labels["le"].clone()).collect()
    }

    /// All samples of a name together; `None` if there is none.
    pub(super) fn sum(&self, name: &str) -> Option<f64> {
        self.sum_where(name, |_| true)
    }

    pub(super) fn sum_where(&self, name: &str, wanted: impl Fn(&Sample) -> bool) -> Option<f64> {
        let found = self.samples.iter().filter(|it| it.name == name && wanted(it));
        let values: Vec<f64> = found.map(|sample| sample.value).collect();
        (!values.is_empty()).then(|| values.iter().sum())
    }
}

/// Asks as a client of HTTP/1.0, whose answers come in one piece: the code and the body.
pub(super) async fn get(authority: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(authority).await.unwrap();
    let request = format!("GET {path} HTTP/1.0\r\nHost: {authority}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer}"));
    let code = head.split(' ').nth(1).unwrap().parse().unwrap();
    (code, body.to_owned())
}
