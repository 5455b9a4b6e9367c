//! `quorate txn`: a transaction, read from standard input as three blocks of lines with an empty line
//! after each: comparisons, what is done when all of them hold, and what is done otherwise.

use std::io::{self, BufRead};

use bytes::Bytes;
use clap::{Args, Parser};

use super::{
    Client, Error,
    client::RESPONSE_BYTES_MAX,
    error::Exit,
    kv::{DelArgs, GetArgs, PutArgs},
    lease,
    print::Printer,
    words::{unquote, words},
};
use crate::proto::etcdserverpb::{
    Compare, RequestOp, TxnRequest,
    compare::{CompareResult, CompareTarget, TargetUnion},
    kv_client::KvClient,
    request_op::Request,
};

#[derive(Args, Clone, Debug)]
pub(super) struct TxnArgs {
    /// Say what is expected next
    #[arg(short = 'i', long)]
    interactive: bool,
}

/// One line of the second or the third block, as if it were a command.
#[derive(Parser)]
#[command(no_binary_name = true, disable_help_flag = true, disable_help_subcommand = true)]
enum Operation {
    Put(PutArgs),
    Get(GetArgs),
    Del(DelArgs),
}

/// Reads a transaction and carries it out.
pub(super) async fn run(
    args: TxnArgs,
    client: &Client,
    printer: &mut Printer,
) -> Result<(), Error> {
    let mut lines = io::stdin().lock().lines();
    let prompt = |printer: &mut Printer, text: &str| {
        if args.interactive { printer.output.line(text) } else { Ok(()) }
    };
    prompt(printer, "compares:")?;
    let compare = block(&mut lines, comparison)?;
    prompt(printer, "success requests (get, put, del):")?;
    let success = block(&mut lines, operation)?;
    prompt(printer, "failure requests (get, put, del):")?;
    let failure = block(&mut lines, operation)?;
    let request = TxnRequest { compare, success, failure };
    let call = async |channel| {
        let mut kv = KvClient::new(channel).max_decoding_message_size(RESPONSE_BYTES_MAX);
        kv.txn(request.clone()).await
    };
    printer.show(&client.write(call).await?.into_inner())
}

/// The lines up to an empty one. Input that ends before that is a transaction that was cut off.
fn block<T>(
    lines: &mut impl Iterator<Item = io::Result<String>>,
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, Error> {
    let mut block = Vec::new();
    loop {
        let line = lines.next().ok_or_else(|| Error::input("EOF"))??;
        match line.trim() {
            "" => return Ok(block),
            line => block.push(read(line).map_err(Error::input)?),
        }
    }
}

/// `mod("key") = "0"`.
fn comparison(line: &str) -> Result<Compare, String> {
    let malformed = || format!("malformed comparison: {line}");
    let (target, rest) = line.split_once('(').ok_or_else(malformed)?;
    let (key, rest) = unquote(rest.trim_start()).ok_or_else(malformed)?;
    let rest = rest.strip_prefix(')').ok_or_else(malformed)?.trim_start();
    let (sign, rest) = rest.split_once(char::is_whitespace).ok_or_else(malformed)?;
    let (value, rest) = unquote(rest.trim_start()).ok_or_else(malformed)?;
    if !rest.trim().is_empty() {
        return Err(malformed());
    }
    let result = match sign {
        "=" => CompareResult::Equal,
        "!=" => CompareResult::NotEqual,
        ">" => CompareResult::Greater,
        "<" => CompareResult::Less,
        other => return Err(format!("malformed comparison: {line} (unknown operator {other})")),
    };
    let (target, union) = compared(target, value)
        .ok_or_else(|| format!("invalid txn compare request: {line}"))?
        .map_err(|reason| format!("malformed comparison: {line} ({reason})"))?;
    Ok(Compare {
        result: result.into(),
        target: target.into(),
        key,
        target_union: Some(union),
        range_end: Bytes::new(),
    })
}

/// What is compared and with what; nothing when the value is no text of digits.
fn compared(target: &str, value: Bytes) -> Option<Result<(CompareTarget, TargetUnion), String>> {
    let number = || str::from_utf8(&value).ok()?.parse::<i64>().ok();
    Some(Ok(match target.trim() {
        "ver" | "version" => (CompareTarget::Version, TargetUnion::Version(number()?)),
        "c" | "create" => (CompareTarget::Create, TargetUnion::CreateRevision(number()?)),
        "m" | "mod" => (CompareTarget::Mod, TargetUnion::ModRevision(number()?)),
        "val" | "value" => (CompareTarget::Value, TargetUnion::Value(value)),
        "lease" => {
            let id = lease::parse_id(str::from_utf8(&value).ok()?).ok()?;
            (CompareTarget::Lease, TargetUnion::Lease(id))
        }
        other => return Some(Err(format!("unknown target {other}"))),
    }))
}

/// `put key value`, `get key`, `del key`, with the flags of those commands.
fn operation(line: &str) -> Result<RequestOp, String> {
    let invalid = |reason: &str| {
        let reason = reason.lines().next().unwrap_or_default();
        format!("invalid txn request: {line} ({})", reason.trim_start_matches("error: "))
    };
    let words = words(line).ok_or_else(|| invalid("a quote that is not closed"))?;
    let operation = Operation::try_parse_from(words).map_err(|it| invalid(&it.to_string()))?;
    let request = match operation {
        Operation::Put(put) => put
            .request(|| {
                let reason = "put command needs 1 argument and input from stdin or 2 arguments";
                Err(Error::new(Exit::Usage, reason))
            })
            .map(Request::RequestPut),
        Operation::Get(get) => get.request().map(Request::RequestRange),
        Operation::Del(del) => del.request().map(Request::RequestDeleteRange),
    };
    let request = request.map_err(|error| invalid(&error.to_string()))?;
    Ok(RequestOp { request: Some(request) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All targets and signs, with what Go's quoting allows.
    #[test]
    fn comparisons_are_read() {
        let read = |line: &str| comparison(line).unwrap();
        let one = read(r#"mod("k\x01") > "7""#);
        assert_eq!(one.key, b"k\x01"[..]);
        assert_eq!((one.target(), one.result()), (CompareTarget::Mod, CompareResult::Greater));
        assert_eq!(one.target_union, Some(TargetUnion::ModRevision(7)));
        assert_eq!(
            read(r#"val("k") = "a b""#).target_union,
            Some(TargetUnion::Value("a b".into()))
        );
        assert_eq!(read(r#"lease("k") != "a0""#).target_union, Some(TargetUnion::Lease(0xa0)));
        assert_eq!(read(r#"ver("k") < "1""#).target(), CompareTarget::Version);
        assert_eq!(read(r#"create("k") = "0""#).target(), CompareTarget::Create);
    }

    /// What makes no sense is refused with the line.
    #[test]
    fn bad_lines_are_named() {
        for line in [r#"mod("k")"#, "mod(k) = 1", r#"mod("k") = "1" 2"#] {
            assert_eq!(comparison(line), Err(format!("malformed comparison: {line}")));
        }
        let line = r#"mod("k") = "x""#;
        assert_eq!(comparison(line), Err(format!("invalid txn compare request: {line}")));
        let line = r#"size("k") = "1""#;
        let reason = format!("malformed comparison: {line} (unknown target size)");
        assert_eq!(comparison(line), Err(reason));
        assert!(operation("put k").unwrap_err().starts_with("invalid txn request: put k ("));
        assert!(operation("move k v").is_err());
        assert!(operation("put 'k v").is_err());
    }

    /// Quotes, flags and bytes.
    #[test]
    fn operations_are_read_as_commands() {
        let Some(Request::RequestPut(put)) =
            operation(r#"put "a b" 'c  d' --prev-kv --lease=1f"#).unwrap().request
        else {
            panic!("a put");
        };
        assert_eq!((put.key, put.value), ("a b".into(), "c  d".into()));
        assert_eq!((put.prev_kv, put.lease), (true, 0x1f));
        let Some(Request::RequestRange(get)) =
            operation(r#"get --prefix "\xff" --limit 3"#).unwrap().request
        else {
            panic!("a get");
        };
        assert_eq!((get.key, get.limit), (b"\xff"[..].into(), 3));
        assert!(matches!(
            operation("del k").unwrap().request,
            Some(Request::RequestDeleteRange(_))
        ));
    }

    /// Three blocks, each with an empty line after it; what is cut off is not carried out.
    #[test]
    fn a_block_ends_with_an_empty_line() {
        let mut lines =
            ["put a 1", "  del b ", "", "get c"].map(|it| Ok(it.to_owned())).into_iter();
        assert_eq!(block(&mut lines, operation).unwrap().len(), 2);
        assert_eq!(block(&mut lines, operation).unwrap_err().to_string(), "EOF");
    }
}
