//! What the configuration refuses, and by which words.

use super::*;

/// A rule with these fields.
fn rule(fields: &str) -> String {
    format!("[[channel]]\nmatch = 'a.{{sub}}'\n{fields}\n")
}

/// A rule without fields.
fn only(pattern: &str) -> String {
    format!("[[channel]]\nmatch = '{pattern}'\n")
}

#[test]
fn what_is_wrong_is_named_by_rule_and_field() {
    for (toml, reason) in [
        (
            only("ok") + &only("b**"),
            "rule 2: match: the pattern \"b**\": ** has no meaning",
        ),
        (
            rule("allow = { token = ['read'] }"),
            "rule 1: allow.token: \"read\" is no action",
        ),
        (
            rule("allow = { key = ['admin'] }"),
            "rule 1: allow.key: \"admin\" is no action",
        ),
        (
            rule("allow = { anonymous = ['operate'] }"),
            "rule 1: allow.anonymous: \"operate\"",
        ),
        (
            rule("allow = { other_token = ['x'] }"),
            "rule 1: allow.other_token: \"x\"",
        ),
        (
            only("a") + "allow = { other_token = ['history'] }",
            "rule 1: allow.other_token: \"a\" has no placeholder",
        ),
        (rule("allow = { tokens = [] }"), "tokens"),
        (rule("alow = {}"), "alow"),
        (
            "[[channel]]\nallow = {}".to_owned(),
            "missing field `match`",
        ),
        (
            rule("endpoint = ['history']"),
            "rule 1: endpoint: it is asked about subscribe and publish, not about history",
        ),
        (
            rule("endpoint = ['connect']"),
            "rule 1: endpoint: \"connect\" is no action",
        ),
        (rule("endpoint = 1"), "true, false or a list of actions"),
        (
            rule("endpoint = true\nallow = { token = ['publish', 'history'] }"),
            "rule 1: endpoint: publish is in allow.token, too",
        ),
        (
            rule("message_bytes = 0"),
            "rule 1: message_bytes: it is at least 1",
        ),
        (rule("message_bytes = -1"), "-1"),
        (
            rule("publish_rate = '0/s'"),
            "rule 1: publish_rate: a rate is a number of messages, at least 1",
        ),
        (
            rule("slow = 'wait'"),
            "rule 1: slow is one of disconnect, drop-oldest",
        ),
        (
            only("x").repeat(MAX_RULES + 1),
            "channel: 1001 rules; there may be 1000",
        ),
    ] {
        let error = read(&toml, WithoutRules::Anonymous(Actions::NONE)).unwrap_err();
        assert!(error.contains(reason), "{error}");
    }
    let fine = rule("endpoint = false\nallow = { token = ['publish'] }");
    assert!(read(&fine, WithoutRules::Anonymous(Actions::NONE)).is_ok());
}

#[test]
fn a_rule_that_is_never_reached_is_refused() {
    for (toml, reason) in [
        (
            only("a.*") + &only("b") + &only("a.7"),
            "rule 3: match: \"a.7\" is never reached, since rule 1 (\"a.*\")",
        ),
        (
            only("a.{sub}") + &only("a.{sub}"),
            "rule 2: match: \"a.{sub}\" is never reached",
        ),
        (
            only("*") + &only("{sub}.x*"),
            "rule 2: match: \"{sub}.x*\" is never reached",
        ),
    ] {
        let error = read(&toml, WithoutRules::Anonymous(Actions::NONE)).unwrap_err();
        assert!(error.contains(reason), "{error}");
    }
    for toml in [
        only("*sub*") + &only("{sub}"),
        only("a.{sub}") + &only("a.*"),
        only("a.*.c") + &only("a.*"),
        only("a*c") + &only("a*"),
    ] {
        assert!(
            read(&toml, WithoutRules::Anonymous(Actions::NONE)).is_ok(),
            "{toml}"
        );
    }
}
