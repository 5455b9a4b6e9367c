//! A client that speaks HTTP/1.1, and shows an answer while it comes.

use std::collections::BTreeMap;

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

use super::SOON;
use crate::harness::within;

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// By their names in small letters.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        self.body.parse().unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The JSON of an answer that must be a success.
    #[track_caller]
    pub(crate) fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        assert_eq!(self.headers["content-type"], "application/json", "{self:?}");
        self.json()
    }

    /// The revision in the head.
    pub(crate) fn index(&self) -> i64 {
        self.headers["x-quorate-index"].parse().unwrap()
    }
}

/// An answer of which the head has come.
pub(crate) struct Coming {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    connection: BufReader<TcpStream>,
    is_chunked: bool,
    buffered: Vec<u8>,
}

/// Sends a request, and waits for the whole answer.
pub(crate) async fn ask(
    authority: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let answer = async {
        let mut coming = open(authority, method, path, headers, body).await;
        let mut body = Vec::new();
        if coming.is_chunked {
            while let Some(chunk) = coming.chunk().await {
                body.extend(chunk);
            }
        } else {
            coming.connection.read_to_end(&mut body).await.unwrap();
        }
        let Coming { status, headers, .. } = coming;
        Answer { status, headers, body: String::from_utf8(body).unwrap() }
    };
    within(&format!("the answer to {method} {path}"), SOON, answer).await
}

/// Sends a request, and waits for the head of the answer.
pub(crate) async fn open(
    authority: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Coming {
    let mut stream = TcpStream::connect(authority).await.unwrap();
    let mut head =
        format!("{method} {path} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += &format!("content-length: {}\r\n\r\n", body.len());
    // A server may refuse a request before it has read all of it. In one piece, so that what is small
    // was read: unread, it would have the connection fail.
    let _ = stream.write_all((head + body).as_bytes()).await;
    let mut connection = BufReader::new(stream);
    let first = line(&mut connection).await.expect("there is a status");
    let status = first.split(' ').nth(1).unwrap().parse().unwrap();
    let mut headers = BTreeMap::new();
    while let Some((name, value)) = line(&mut connection).await.unwrap().split_once(": ") {
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let is_chunked = headers.get("transfer-encoding").is_some_and(|it| it == "chunked");
    Coming { status, headers, connection, is_chunked, buffered: Vec::new() }
}

impl Coming {
    /// The next line of JSON; none when the answer is over.
    pub(crate) async fn json(&mut self) -> Option<Value> {
        let next = async {
            loop {
                if let Some(end) = self.buffered.iter().position(|byte| *byte == b'\n') {
                    let line = self.buffered.drain(..=end).collect::<Vec<_>>();
                    return Some(serde_json::from_slice(&line).unwrap());
                }
                match self.chunk().await {
                    Some(chunk) => self.buffered.extend(chunk),
                    None => {
                        assert!(self.buffered.is_empty(), "half a line: {:?}", self.buffered);
                        return None;
                    }
                }
            }
        };
        within("the next line", SOON, next).await
    }

    async fn chunk(&mut self) -> Option<Vec<u8>> {
        let len = line(&mut self.connection).await.expect("an answer ends with an empty chunk");
        let mut chunk = vec![0; usize::from_str_radix(&len, 16).unwrap()];
        self.connection.read_exact(&mut chunk).await.unwrap();
        assert_eq!(line(&mut self.connection).await.as_deref(), Some(""));
        (!chunk.is_empty()).then_some(chunk)
    }
}

async fn line(connection: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = String::new();
    let len = connection.read_line(&mut line).await.unwrap();
    (len > 0).then(|| line.trim_end_matches(['\r', '\n']).to_owned())
}
