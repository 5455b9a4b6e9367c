//! The two questions that a member asks the DNS: which SRV records a name has, and which names an
//! address has.
//!
//! A stub that asks the servers of the system (or the one it is told) over UDP, and over TCP when an
//! answer does not fit. Names that records lead to are resolved like all others, by the system.
//!
//! Absent: caches, recursion, other records. A resolver library would bring them, and some forty
//! crates.

use std::{
    fs,
    hash::{BuildHasher, RandomState},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

const RESOLV_CONF: &str = "/etc/resolv.conf";
const PORT: u16 = 53;
/// As many as the system's own resolver looks at.
const SERVERS_MAX: usize = 3;
/// How long a server may take, and how often each is asked.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
const ATTEMPTS: usize = 2;
/// Bytes of an answer over UDP: more comes over TCP.
const UDP_BYTES_MAX: usize = 4096;

const SRV: u16 = 33;
const PTR: u16 = 12;
const INTERNET: u16 = 1;
const HEADER_BYTES: usize = 12;
const LABEL_BYTES_MAX: usize = 63;
const NAME_BYTES_MAX: usize = 255;

/// Where a service is, by one of its records.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Target {
    /// The host, without the dot that ends it.
    pub(super) host: String,
    pub(super) port: u16,
}

/// The targets of all SRV records of a name, sorted; none when the name does not exist.
///
/// # Errors
///
/// Why no server gave an answer.
pub(super) async fn targets(
    name: &str,
    resolver: Option<SocketAddr>,
) -> Result<Vec<Target>, String> {
    records(name, SRV, resolver).await
}

/// The names of an address, of which the system's file of hosts knows nothing.
///
/// # Errors
///
/// Why no server gave an answer.
pub(super) async fn names_of(address: IpAddr) -> Result<Vec<String>, String> {
    let found = records(&reversed(address), PTR, None).await?;
    Ok(found.into_iter().map(|target| target.host).collect())
}

/// The name under which the names of an address are kept.
fn reversed(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(address) => {
            let digits: Vec<String> = (address.octets().iter().rev())
                .map(|it| format!("{:x}.{:x}", it & 15, it >> 4))
                .collect();
            format!("{}.ip6.arpa", digits.join("."))
        }
    }
}

async fn records(
    name: &str,
    kind: u16,
    resolver: Option<SocketAddr>,
) -> Result<Vec<Target>, String> {
    let question = question(name, kind).ok_or_else(|| format!("{name:?} is not a domain name"))?;
    let servers = resolver.map_or_else(system_servers, |resolver| vec![resolver]);
    let mut reason = String::new();
    for _ in 0..ATTEMPTS {
        for server in &servers {
            match timeout(ANSWER_WITHIN, ask(*server, &question)).await {
                Ok(Ok(targets)) => return Ok(targets),
                Ok(Err(error)) => reason = format!("server {server}: {error}"),
                Err(_) => {
                    let seconds = ANSWER_WITHIN.as_secs();
                    reason = format!("server {server}: no answer within {seconds} s");
                }
            }
        }
    }
    Err(reason)
}

/// The servers that the system asks.
fn system_servers() -> Vec<SocketAddr> {
    let text = fs::read_to_string(RESOLV_CONF).unwrap_or_default();
    let mut servers = servers_in(&text);
    if servers.is_empty() {
        servers.push(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), PORT));
    }
    servers
}

fn servers_in(text: &str) -> Vec<SocketAddr> {
    let words = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()).flatten()
    });
    let addresses = words.filter_map(|word| word.parse().ok());
    addresses.map(|ip| SocketAddr::new(ip, PORT)).take(SERVERS_MAX).collect()
}

async fn ask(server: SocketAddr, question: &[u8]) -> io::Result<Vec<Target>> {
    // Whoever wants to answer in the server's place has to guess it, and the port.
    let id = RandomState::new().hash_one(question).to_be_bytes();
    let id = [id[0], id[1]];
    let query = [id.as_slice(), QUERY, question].concat();
    let local: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(local).await?;
    socket.connect(server).await?;
    socket.send(&query).await?;
    let mut buffer = vec![0; UDP_BYTES_MAX];
    loop {
        let len = socket.recv(&mut buffer).await?;
        let answer = buffer.get(..len).unwrap_or_default();
        // Anything else that arrives here is not the answer.
        match read(answer, id, question) {
            Some(Answer::Found(targets)) => return Ok(targets),
            Some(Answer::Refused(code)) => return Err(refused(code)),
            Some(Answer::Truncated) => break,
            None => {}
        }
    }
    ask_again(server, &query, id, question).await
}

/// The same over TCP.
async fn ask_again(
    server: SocketAddr,
    query: &[u8],
    id: [u8; 2],
    question: &[u8],
) -> io::Result<Vec<Target>> {
    let mut stream = TcpStream::connect(server).await?;
    let len = u16::try_from(query.len()).map_err(io::Error::other)?;
    stream.write_all(&[len.to_be_bytes().as_slice(), query].concat()).await?;
    let len = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(len)];
    stream.read_exact(&mut answer).await?;
    match read(&answer, id, question) {
        Some(Answer::Found(targets)) => Ok(targets),
        Some(Answer::Refused(code)) => Err(refused(code)),
        Some(Answer::Truncated) | None => Err(io::Error::other("its answer cannot be read")),
    }
}

fn refused(code: u8) -> io::Error {
    io::Error::other(format!("it answers with code {code}"))
}

/// The rest of the head of a query: one question, with recursion.
const QUERY: &[u8] = &[1, 0, 0, 1, 0, 0, 0, 0, 0, 0];

/// The question for the records of a kind that a name has.
fn question(name: &str, kind: u16) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for label in name.trim_end_matches('.').split('.') {
        if label.is_empty() || label.len() > LABEL_BYTES_MAX || !label.is_ascii() {
            return None;
        }
        bytes.push(u8::try_from(label.len()).ok()?);
        bytes.extend(label.to_ascii_lowercase().bytes());
    }
    bytes.push(0);
    if bytes.len() > NAME_BYTES_MAX {
        return None;
    }
    bytes.extend(kind.to_be_bytes());
    bytes.extend(INTERNET.to_be_bytes());
    Some(bytes)
}

/// What a server said.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Found(Vec<Target>),
    /// It did not fit.
    Truncated,
    /// With this code.
    Refused(u8),
}

/// Reads an answer to this question; `None` when it is none.
fn read(message: &[u8], id: [u8; 2], question: &[u8]) -> Option<Answer> {
    const RESPONSE: u8 = 0x80;
    const TRUNCATED: u8 = 0x02;
    const CODE: u8 = 0x0f;
    const NO_SUCH_NAME: u8 = 3;

    let head: &[u8; HEADER_BYTES] = message.first_chunk()?;
    let [id_high, id_low, flags, more_flags, _, questions, answers_high, answers_low, ..] = *head;
    if [id_high, id_low] != id || flags & RESPONSE == 0 || questions != 1 {
        return None;
    }
    let asked = message.get(HEADER_BYTES..HEADER_BYTES + question.len())?;
    if !asked.eq_ignore_ascii_case(question) {
        return None;
    }
    match more_flags & CODE {
        0 => {}
        NO_SUCH_NAME => return Some(Answer::Found(Vec::new())),
        code => return Some(Answer::Refused(code)),
    }
    if flags & TRUNCATED != 0 {
        return Some(Answer::Truncated);
    }
    let mut at = HEADER_BYTES + question.len();
    let is_reverse = question.ends_with(&[0, 12, 0, 1]);
    let mut targets = Vec::new();
    for _ in 0..u16::from_be_bytes([answers_high, answers_low]) {
        at = name_at(message, at)?.1;
        let fixed: &[u8; 10] = message.get(at..)?.first_chunk()?;
        let [kind_high, kind_low, _, _, _, _, _, _, len_high, len_low] = *fixed;
        at += fixed.len();
        let kind = u16::from_be_bytes([kind_high, kind_low]);
        if is_reverse && kind == PTR {
            targets.push(Target { host: name_at(message, at)?.0, port: 0 });
        } else if !is_reverse && kind == SRV {
            let numbers: &[u8; 6] = message.get(at..)?.first_chunk()?;
            let [_, _, _, _, port_high, port_low] = *numbers;
            let host = name_at(message, at + numbers.len())?.0;
            targets.push(Target { host, port: u16::from_be_bytes([port_high, port_low]) });
        }
        at += usize::from(u16::from_be_bytes([len_high, len_low]));
    }
    targets.sort();
    targets.dedup();
    Some(Answer::Found(targets))
}

/// The name at a place of a message, and where what follows begins.
fn name_at(message: &[u8], place: usize) -> Option<(String, usize)> {
    const POINTER: u8 = 0xc0;
    let (mut name, mut at, mut end) = (String::new(), place, None);
    loop {
        let len = *message.get(at)?;
        if len & POINTER == POINTER {
            let low = *message.get(at + 1)?;
            end = end.or(Some(at + 2));
            let next = usize::from(u16::from_be_bytes([len & !POINTER, low]));
            // Only backwards, so that it comes to an end.
            if next >= at {
                return None;
            }
            at = next;
            continue;
        }
        at += 1;
        if len == 0 {
            return Some((name, end.unwrap_or(at)));
        }
        let label = message.get(at..at + usize::from(len))?;
        if usize::from(len) > LABEL_BYTES_MAX || name.len() + label.len() > NAME_BYTES_MAX {
            return None;
        }
        if !name.is_empty() {
            name.push('.');
        }
        name.push_str(std::str::from_utf8(label).ok()?);
        at += label.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: [u8; 2] = [7, 9];

    /// An answer with these records, each a name's bytes, a kind and data.
    fn answer(code: u8, flags: u8, records: &[(&[u8], u16, &[u8])]) -> Vec<u8> {
        let count = u8::try_from(records.len()).unwrap();
        let mut bytes = vec![ID[0], ID[1], 0x80 | flags, 0x80 | code, 0, 1, 0, count, 0, 0, 0, 0];
        bytes.extend(question("_x._tcp.test", SRV).unwrap());
        for (name, kind, data) in records {
            bytes.extend(*name);
            bytes.extend(kind.to_be_bytes());
            bytes.extend([0, 1, 0, 0, 0, 60]);
            bytes.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
            bytes.extend(*data);
        }
        bytes
    }

    fn read_it(message: &[u8]) -> Option<Answer> {
        read(message, ID, &question("_X._tcp.test.", SRV).unwrap())
    }

    /// Targets are read, plain ones and those that point back into the message; other records are
    /// passed over.
    #[test]
    fn targets_are_read() {
        // "test" stands at offset 20: after the head, "_x" and "_tcp".
        let message = answer(
            0,
            0,
            &[
                (b"\xc0\x0c", SRV, b"\0\0\0\0\x09\x4c\x01b\xc0\x14"),
                (b"\xc0\x0c", 1, b"\x7f\0\0\x01"),
                (b"\xc0\x0c", SRV, b"\0\x01\0\x02\x09\x4b\x01a\x07example\0"),
            ],
        );
        let target = |host: &str, port| Target { host: host.into(), port };
        let expected = vec![target("a.example", 2379), target("b.test", 2380)];
        assert_eq!(read_it(&message), Some(Answer::Found(expected)));
    }

    /// The names of an address are asked for and read.
    #[test]
    fn names_of_an_address_are_read() {
        assert_eq!(reversed("10.1.2.3".parse().unwrap()), "3.2.1.10.in-addr.arpa");
        let local = reversed("::1".parse().unwrap());
        assert!(local.starts_with("1.0.0.0.0.") && local.ends_with(".0.0.ip6.arpa"), "{local}");
        let question = question("1.0.0.127.in-addr.arpa", PTR).unwrap();
        let mut message = vec![ID[0], ID[1], 0x80, 0x80, 0, 1, 0, 1, 0, 0, 0, 0];
        message.extend(&question);
        message.extend(b"\xc0\x0c\0\x0c\0\x01\0\0\0\x3c\0\x08\x01a\x04test\0");
        let found = Answer::Found(vec![Target { host: "a.test".into(), port: 0 }]);
        assert_eq!(read(&message, ID, &question), Some(found));
    }

    /// A name that does not exist has no records; a server that cannot answer says so.
    #[test]
    fn other_answers_are_told_apart() {
        assert_eq!(read_it(&answer(3, 0, &[])), Some(Answer::Found(Vec::new())));
        assert_eq!(read_it(&answer(2, 0, &[])), Some(Answer::Refused(2)));
        assert_eq!(read_it(&answer(0, 2, &[])), Some(Answer::Truncated));
        let good = answer(0, 0, &[]);
        assert_eq!(read(&good, [7, 8], &question("_x._tcp.test", SRV).unwrap()), None);
        assert_eq!(read(&good, ID, &question("_y._tcp.test", SRV).unwrap()), None);
    }

    /// No bytes lead astray: an answer that is cut or changed anywhere is read or refused.
    #[test]
    fn damaged_answers_harm_nobody() {
        let message = answer(0, 0, &[(b"\xc0\x0c", SRV, b"\0\0\0\0\x09\x4c\x01b\xc0\x14")]);
        for end in 0..message.len() {
            assert_eq!(read_it(&message[..end]), None, "cut at {end}");
        }
        for at in 0..message.len() {
            for byte in [0, 1, 0x3f, 0x40, 0xc0, 0xff] {
                let mut damaged = message.clone();
                damaged[at] = byte;
                let _ = read_it(&damaged);
            }
        }
        // A name that points to itself.
        let looping = answer(0, 0, &[(b"\xc0\x1e", SRV, b"")]);
        assert_eq!(read_it(&looping), None);
    }

    /// The system's servers are those of its file.
    #[test]
    fn the_systems_servers_are_found() {
        let text =
            "# nameserver 9.9.9.9\nsearch a\nnameserver 10.0.0.1\n nameserver ::1 \nnameserver x\n";
        let servers: Vec<String> = servers_in(text).iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["10.0.0.1:53", "[::1]:53"]);
    }

    /// What is no name is not asked for.
    #[test]
    fn bad_names_are_refused() {
        for name in ["", ".", "a..b", "ä.test", &"x".repeat(64), &"x.".repeat(128)] {
            assert_eq!(question(name, SRV), None, "{name}");
        }
    }
}
