//! One request to the gateway, and what is compared of its answer.

/// A request.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: String,
    pub(super) answer: Answers,
}

/// What comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answers {
    /// One text, or lines that end.
    Whole,
    /// The lines of a watch, which goes on: so many that tell no events, and so many events.
    Watch { control: usize, events: usize },
}

impl Case {
    /// A request with JSON.
    pub(super) fn post(path: &str, body: impl Into<String>) -> Self {
        Self {
            method: "POST",
            path: path.to_owned(),
            headers: Vec::new(),
            body: body.into(),
            answer: Answers::Whole,
        }
    }

    /// A watch that is read so far.
    pub(super) fn watch(body: &str, control: usize, events: usize) -> Self {
        Self { answer: Answers::Watch { control, events }, ..Self::post("/v3/watch", body) }
    }

    pub(super) fn method(self, method: &'static str) -> Self {
        Self { method, ..self }
    }

    pub(super) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    /// The request as one line.
    pub(super) fn brief(&self) -> String {
        let body: String = self.body.chars().take(400).collect();
        format!("{} {} {:?} {body}", self.method, self.path, self.headers)
    }
}

/// Requests for one path.
pub(super) fn posts(path: &str, bodies: &[&str]) -> Vec<Case> {
    bodies.iter().map(|body| Case::post(path, *body)).collect()
}
