//! Requests written by hand: every path, and what can be wrong with a request.

use super::{
    case::{Case, posts},
    table_of_calls::calls,
};

/// All of them, in an order in which each finds what it needs.
pub(super) fn cases() -> Vec<Case> {
    let groups = [
        keys(),
        bad_json(),
        bytes(),
        integers(),
        enums(),
        texts(),
        names(),
        transactions(),
        calls(),
    ];
    groups.into_iter().flatten().collect()
}

fn keys() -> Vec<Case> {
    [
        posts("/v3/kv/put", &[
            r#"{"key":"Zm9v","value":"YmFy"}"#,
            r#"{"key":"Zm9v","value":"YmF6","prev_kv":true}"#,
            r#"{"key":"Zm9w","value":"","prevKv":true}"#,
            r#"{"key":"Zm9x"}"#,
            r#"{"value":"YmFy"}"#,
            r#"{"key":"Zm9v","ignore_value":true}"#,
            r#"{"key":"Zm9v","value":"YQ==","ignore_value":true}"#,
            r#"{"key":"bm9uZQ==","ignoreLease":true}"#,
            r#"{"key":"Zm9v","lease":"123456"}"#,
            r#"{"key":"Zm9v","lease":-1}"#,
        ]),
        posts("/v3/kv/range", &[
            r#"{"key":"Zm9v"}"#,
            r#"{"key":"Zm9v","range_end":"Zm96"}"#,
            r#"{"key":"Zm9v","rangeEnd":"Zm96","limit":"1"}"#,
            r#"{"key":"AA==","range_end":"AA==","count_only":true}"#,
            r#"{"key":"AA==","range_end":"AA==","keysOnly":true,"sort_order":"DESCEND"}"#,
            r#"{"key":"Zm9v","revision":2}"#,
            r#"{"key":"Zm9v","revision":"1000"}"#,
            r#"{"key":"Zm9v","revision":"-1"}"#,
            r#"{"key":"bm9uZQ=="}"#,
            r#"{"key":"Zm96","range_end":"Zm9v"}"#,
            r#"{"key":"AA==","range_end":"AA==","min_mod_revision":"3","max_create_revision":4}"#,
            r#"{"key":"Zm9v","serializable":true}"#,
        ]),
        posts("/v3/kv/deleterange", &[
            r#"{"key":"bm9uZQ=="}"#,
            r#"{"key":"Zm9x","prev_kv":true}"#,
            r#"{}"#,
            "",
        ]),
        posts("/v3/kv/compaction", &[r#"{"revision":"2"}"#, r#"{"revision":2}"#, r#"{"revision":"9000"}"#, "{}"]),
        posts("/v3/kv/range", &[r#"{"key":"Zm9v","revision":1}"#]),
    ]
    .concat()
}

fn bad_json() -> Vec<Case> {
    posts(
        "/v3/kv/range",
        &[
            "",
            " ",
            "\n\t ",
            "{",
            "[",
            "[]",
            "null",
            "true",
            "1",
            "\"x\"",
            "abc",
            "{}x",
            "{}{",
            "{} {}",
            "{,}",
            "{\"key\"}",
            "{\"key\":}",
            "{\"key\":\"Zm9v\",}",
            "{\"key\":\"Zm9v\"",
            "{\"key\" \"Zm9v\"}",
            "{'key':'Zm9v'}",
            "{key:\"Zm9v\"}",
            "{\"key\":\"Zm9v\"]",
            "{\"key\":\"Zm\n9v\"}",
            "{\"key\":\"Zm9v\\x\"}",
            "{\"key\":\"Zm9v\\u00g0\"}",
            "{\"limit\":01}",
            "{\"limit\":-}",
            "{\"limit\":1.}",
            "{\"limit\":1e}",
            "{\"limit\":+1}",
            "{\"limit\":.5}",
            "{\"limit\":tru}",
            "{\"limit\":nulL}",
            "{\"nope\":[1,}",
            "{\"nope\":[1 2]}",
            "{\"nope\":{\"a\":1]}",
            "/",
            "\u{7f}",
            "é",
            "<xml/>",
            "key=Zm9v",
            "{\"key\":\"Zm9v\"} trailing",
            "\u{feff}{}",
        ],
    )
}

fn bytes() -> Vec<Case> {
    let mut cases = Vec::new();
    for text in [
        "Zm9v",
        "Zm8",
        "Zm8=",
        "Zm8==",
        "Zg",
        "Zg=",
        "Zg==",
        "Z",
        "Z===",
        "====",
        "=",
        "!",
        "Zm9v!",
        "Zm 9v",
        "Zm9v\\n",
        "\\nZm9v",
        "-_8",
        "_-8=",
        "+/8=",
        "-/8=",
        "Zh==",
        "Zm\\u0039v",
        "\\u005am9v",
        "Zm9vZg==Zm9v",
        "é",
    ] {
        cases.push(Case::post("/v3/kv/range", format!(r#"{{"key":"{text}"}}"#)));
    }
    for value in ["1", "true", "null", "[]", "{}", "[\"Zm9v\"]", "{\"a\":\"Zm9v\"}"] {
        cases.push(Case::post("/v3/kv/range", format!(r#"{{"key":{value}}}"#)));
    }
    cases
}

fn integers() -> Vec<Case> {
    let mut cases = Vec::new();
    for value in [
        "0",
        "1",
        "-0",
        "1.0",
        "1.5",
        "1e0",
        "10e-1",
        "1E2",
        "1e-1",
        "1e30",
        "0e99999999999",
        "\"1\"",
        "\"1.0\"",
        "\"1e0\"",
        "\"\"",
        "\" 1\"",
        "\"1 \"",
        "\"1 2\"",
        "\"1,2\"",
        "\"01\"",
        "\"+1\"",
        "\"0x1\"",
        "\"x\"",
        "\"1x\"",
        "\"-\"",
        "\"null\"",
        "true",
        "null",
        "[]",
        "{}",
        "[1]",
        "9223372036854775807",
        "9223372036854775808",
        "\"9223372036854775808\"",
        "99999999999999999999999",
        "-1",
        "\"\\u0031\"",
    ] {
        cases.push(Case::post("/v3/kv/range", format!(r#"{{"key":"Zm9v","limit":{value}}}"#)));
    }
    for value in ["\"18446744073709551615\"", "18446744073709551616", "-1", "\"7\"", "7.5", "\"x\""]
    {
        cases.push(Case::post("/v3/cluster/member/promote", format!(r#"{{"ID":{value}}}"#)));
    }
    cases
}

fn enums() -> Vec<Case> {
    let mut cases = Vec::new();
    for value in [
        "\"NONE\"",
        "\"ASCEND\"",
        "\"DESCEND\"",
        "\"descend\"",
        "\"NOPE\"",
        "\"\"",
        "0",
        "2",
        "2.0",
        "1.5",
        "3",
        "-1",
        "2147483648",
        "\"2\"",
        "null",
        "true",
        "[]",
        "{}",
    ] {
        let body = format!(r#"{{"key":"AA==","range_end":"AA==","sort_order":{value}}}"#);
        cases.push(Case::post("/v3/kv/range", body));
    }
    for value in ["true", "false", "null", "\"true\"", "1", "0", "[]", "\"\""] {
        cases.push(Case::post("/v3/kv/range", format!(r#"{{"key":"Zm9v","count_only":{value}}}"#)));
    }
    cases
}

fn texts() -> Vec<Case> {
    let mut cases = Vec::new();
    for value in ["[1]", "[null]", "\"http://a:1\"", "{}", "[[\"a\"]]"] {
        cases.push(Case::post(
            "/v3/cluster/member/update",
            format!(r#"{{"ID":"7","peerURLs":{value}}}"#),
        ));
    }
    cases
}

fn names() -> Vec<Case> {
    posts(
        "/v3/kv/range",
        &[
            r#"{"key":"Zm9v","rangeEnd":"Zm96","range_end":"Zm96"}"#,
            r#"{"key":"Zm9v","key":"Zm9v"}"#,
            r#"{"key":null,"key":"Zm9v"}"#,
            r#"{"Key":"Zm9v"}"#,
            r#"{"KEY":"Zm9v"}"#,
            r#"{"key ":"Zm9v"}"#,
            r#"{"":"Zm9v"}"#,
            r#"{"\u006bey":"Zm9v"}"#,
            r#"{"[key]":"Zm9v","key":"Zm9v"}"#,
            r#"{"@type":"x","key":"Zm9v"}"#,
            r#"{"nope":{"key":[1,2,{"a":null}]},"key":"Zm9v"}"#,
            r#"{"nope":1,"nope":2,"key":"Zm9v"}"#,
            "{\n  \"key\": \"Zm9v\",\n  \"limit\": \"é\"\n}",
            "{\"é\":1,\"limit\":\"x\"}",
        ],
    )
}

fn transactions() -> Vec<Case> {
    posts(
        "/v3/kv/txn",
        &[
            "",
            "{}",
            r#"{"success":[]}"#,
            r#"{"compare":[{"target":"VALUE","key":"Zm9v","value":"YmF6"}],"success":[{"request_put":{"key":"Zm9v","value":"MQ=="}}]}"#,
            r#"{"compare":[{"target":"VALUE","key":"Zm9v","value":"YmF6"}],"failure":[{"requestRange":{"key":"Zm9v"}}]}"#,
            r#"{"compare":[{"key":"Zm9v","target":"MOD","result":"GREATER","mod_revision":"1"}],"success":[{"request_put":{"key":"YQ==","value":"MQ==","prev_kv":true}},{"request_range":{"key":"YQ=="}},{"request_delete_range":{"key":"YQ==","prev_kv":true}}]}"#,
            r#"{"compare":[{"key":"Zm9v","target":2,"result":3,"modRevision":7}],"success":[{"request_range":{"key":"Zm9v"}}]}"#,
            r#"{"compare":[{"key":"AA==","range_end":"AA==","target":"LEASE","lease":0}],"success":[{"request_range":{"key":"Zm9v","count_only":true}}]}"#,
            r#"{"compare":[{"key":"Zm9v","target":"VERSION","version":"x"}]}"#,
            r#"{"compare":[{"key":"Zm9v","target":"VERSION","version":1,"value":"MQ=="}]}"#,
            r#"{"compare":[{"target":"VERSION","version":1}]}"#,
            r#"{"compare":[{"key":"Zm9v","target":"NOPE","result":"NOPE"}],"success":[{"request_range":{"key":"Zm9v"}}]}"#,
            r#"{"success":[{"request_txn":{"compare":[{"key":"Zm9v","target":"VERSION","version":"99"}],"failure":[{"request_put":{"key":"YQ==","value":"Mg=="}},{"request_txn":{"success":[{"request_range":{"key":"YQ=="}}]}}]}}]}"#,
            r#"{"success":[{}]}"#,
            r#"{"success":[null]}"#,
            r#"{"success":{}}"#,
            r#"{"success":[[]]}"#,
            r#"{"success":[{"request_put":{"key":"YQ=="},"request_range":{"key":"YQ=="}}]}"#,
            r#"{"success":[{"request_put":null,"request_range":{"key":"Zm9v"}}]}"#,
            r#"{"success":[{"request_put":{}}]}"#,
            r#"{"success":[{"request_put":{"key":"YQ=="}},{"request_put":{"key":"YQ=="}}]}"#,
            r#"{"success":[{"request_delete_range":{"key":"AA==","range_end":"AA=="}},{"request_put":{"key":"YQ=="}}]}"#,
            r#"{"success":[{"request_put":{"key":"YQ==","lease":"77777"}}]}"#,
            r#"{"success":[{"request_range":{"key":"Zm9v","revision":"9000"}}]}"#,
            r#"{"failure":[{"request_put":{"key":"YQ=="}},7]}"#,
        ],
    )
}
