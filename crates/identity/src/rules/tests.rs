//! Decisions by the table in the module's text, limits, and what the configuration refuses.

mod random;
mod refused;

use std::sync::Arc;

use hubplane_hub::Slow;

use super::*;
use crate::{
    keys::KeyGrant,
    pattern::{Claims, Pattern},
    permission::Permission,
};

/// Reads the rules of a configuration.
fn read(toml: &str, without_rules: WithoutRules) -> Result<Rules, String> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        #[serde(default)]
        channel: Vec<RuleConfig>,
    }
    let file: File = toml::from_str(toml).map_err(|error| error.message().to_owned())?;
    Rules::new(&file.channel, without_rules)
}

fn closed(toml: &str) -> Rules {
    read(toml, WithoutRules::Anonymous(Actions::NONE)).unwrap()
}

fn token(sub: &str, permissions: Option<&[(&str, &str)]>) -> Subject {
    let permissions = permissions.map(|all| {
        let one = |&(channel, action): &(&str, &str)| {
            Permission::new(Actions::parse(&[action]).unwrap(), &[channel.to_owned()]).unwrap()
        };
        all.iter().map(one).collect()
    });
    Subject::Token {
        claims: Claims::from_iter([("sub", sub)]),
        permissions,
    }
}

fn key(allow: &[&str], channels: &str) -> Subject {
    let words: Vec<_> = allow.iter().map(|&word| word.to_owned()).collect();
    let grant = KeyGrant::parse("k", &words, Some(&[channels.to_owned()]));
    Subject::Key(Arc::new(grant.unwrap()))
}

#[test]
fn the_table_of_the_module_holds() {
    const SUBSCRIBE: Action = Action::Subscribe;
    let no_rules = closed("");
    let limits_alone = closed("[[channel]]\nmatch = '*'\nslow = 'latest'");
    let rules = closed(
        "[[channel]]\nmatch = 'listed.{sub}'\n\
         allow = { token = ['subscribe'], other_token = ['subscribe'], anonymous = ['subscribe'], key = ['subscribe'] }\n\
         [[channel]]\nmatch = 'unlisted.{sub}'\nallow = { token = ['history'], key = [] }\n\
         [[channel]]\nmatch = 'asked.{sub}'\nendpoint = ['subscribe']",
    );
    use Why::*;
    let allowing = [("*", "subscribe")];
    let rows = [
        (
            Subject::Anonymous,
            [Closed, NoRule, Listed, NotListed, Asked],
        ),
        (
            token("ann", None),
            [Closed, NoRule, Listed, NotListed, Asked],
        ),
        (
            token("ann", Some(&allowing)),
            [Granted, NoRule, Listed, NotListed, Asked],
        ),
        (
            token("ann", Some(&[])),
            [NotGranted, NoRule, NotGranted, NotGranted, NotGranted],
        ),
        (
            token("ann", Some(&[("*", "history")])),
            [NotGranted, NoRule, NotGranted, NotGranted, NotGranted],
        ),
        (
            token("ann", Some(&[("x", "subscribe")])),
            [NotGranted, NoRule, NotGranted, NotGranted, NotGranted],
        ),
        (
            token("bob", None),
            [Closed, NoRule, Listed, OtherClaims, OtherClaims],
        ),
        (
            token("bob", Some(&allowing)),
            [Granted, NoRule, Listed, OtherClaims, OtherClaims],
        ),
        (
            token("bob", Some(&[])),
            [NotGranted, NoRule, NotGranted, NotGranted, NotGranted],
        ),
        (
            key(&["subscribe"], "*"),
            [Granted, Granted, Listed, NotListed, Granted],
        ),
        (key(&["publish"], "*"), [NotGranted; 5]),
        (key(&["subscribe"], "x"), [NotGranted; 5]),
    ];
    for (who, [none, uncovered, listed, unlisted, asked]) in rows {
        assert_eq!(
            no_rules.decide(&who, SUBSCRIBE, "a.ann").why,
            none,
            "{who:?}"
        );
        assert_eq!(
            limits_alone.decide(&who, SUBSCRIBE, "a.ann").why,
            none,
            "{who:?}"
        );
        for (channel, rule, why) in [
            ("a.ann", None, uncovered),
            ("listed.ann", Some(1), listed),
            ("unlisted.ann", Some(2), unlisted),
            ("asked.ann", Some(3), asked),
        ] {
            let decision = rules.decide(&who, SUBSCRIBE, channel);
            assert_eq!(decision, Decision { rule, why }, "{who:?} {channel}");
        }
    }
}

#[test]
fn an_open_hub_without_rules_allows_all_but_publishing_and_operating() {
    let actions = [
        Action::Subscribe,
        Action::History,
        Action::Presence,
        Action::Publish,
        Action::Operate,
    ];
    let allowed = |rules: &Rules| {
        actions.map(|action| {
            let decision = rules.decide(&Subject::Anonymous, action, "a");
            assert_eq!(
                decision.is_allowed(),
                rules.allows_somewhere(&Subject::Anonymous, action)
            );
            decision.is_allowed()
        })
    };
    let open = |toml| allowed(&read(toml, WithoutRules::Open).unwrap());
    assert_eq!(open(""), [true, true, true, false, false]);
    assert_eq!(
        open("[[channel]]\nmatch = 'a'\nmessage_bytes = 10"),
        [true, true, true, false, false]
    );
    // With a rule about permissions, what none covers is closed.
    assert_eq!(open("[[channel]]\nmatch = 'b'\nallow = {}"), [false; 5]);
    assert_eq!(allowed(&closed("")), [false; 5]);
}

#[test]
fn the_channels_of_one_user_are_closed_to_others_although_a_wide_rule_follows() {
    let rules = closed(
        "[[channel]]\nmatch = 'user.{sub}.*'\nallow = { token = ['subscribe'] }\n\
         [[channel]]\nmatch = '*'\nallow = { token = ['subscribe'], anonymous = ['subscribe'] }",
    );
    let decide = |who: &Subject, channel| rules.decide(who, Action::Subscribe, channel);
    assert!(decide(&token("ann", None), "user.ann.inbox").is_allowed());
    for sub in ["bob", "*", "an", "ann.inbox", "", "Ann"] {
        let decision = decide(&token(sub, None), "user.ann.inbox");
        assert_eq!(decision.why, Why::OtherClaims, "{sub}");
        assert!(
            decision.to_string().starts_with("rule 1: refused: "),
            "{decision}"
        );
    }
    let nothing = Subject::Token {
        claims: Claims::default(),
        permissions: None,
    };
    assert!(!decide(&nothing, "user.ann.inbox").is_allowed());
    assert!(!decide(&Subject::Anonymous, "user.ann.inbox").is_allowed());
    assert!(decide(&Subject::Anonymous, "user.ann").is_allowed());
    assert_eq!(rules.claims().into_iter().collect::<Vec<_>>(), ["sub"]);
}

#[test]
fn what_is_allowed_nowhere_is_known_without_a_channel() {
    let rules = closed(
        "[[channel]]\nmatch = 'a.{sub}'\nallow = { token = ['history'], other_token = ['presence'], key = [] }\n\
         [[channel]]\nmatch = 'b'\nallow = { anonymous = ['history'] }\nendpoint = ['publish']",
    );
    let four = [
        Action::Subscribe,
        Action::Publish,
        Action::History,
        Action::Presence,
    ];
    let somewhere = |who: &Subject| four.map(|action| rules.allows_somewhere(who, action));
    let on_no_channel = Permission::new(Actions::all(), &[]).unwrap();
    let nowhere = Subject::Token {
        claims: Claims::default(),
        permissions: Some(Box::from([on_no_channel])),
    };
    for (who, expected) in [
        (Subject::Anonymous, [false, true, true, false]),
        (token("ann", None), [false, true, true, true]),
        (
            token("ann", Some(&[("a.*", "history")])),
            [false, false, true, false],
        ),
        (token("ann", Some(&[])), [false; 4]),
        (nowhere, [false; 4]),
        (key(&["publish"], "*"), [false, true, false, false]),
    ] {
        assert_eq!(somewhere(&who), expected, "{who:?}");
    }
    let no_rules = closed("");
    let may_read = |who: &Subject| no_rules.allows_somewhere(who, Action::History);
    assert!(may_read(&token("ann", Some(&[("a", "history")]))) && !may_read(&token("ann", None)));
}

#[test]
fn keys_alone_operate_the_hub_and_read_its_metrics() {
    let all = "allow = { token = ['subscribe', 'publish', 'history', 'presence'] }";
    let rules = closed(&format!("[[channel]]\nmatch = '*'\n{all}"));
    let may = |who: &Subject| {
        [Action::Metrics, Action::Operate].map(|action| {
            let allowed = rules.decide(who, action, "").is_allowed();
            assert_eq!(allowed, rules.allows_somewhere(who, action), "{who:?}");
            allowed
        })
    };
    assert_eq!(may(&key(&["admin"], "x")), [true, true]);
    assert_eq!(may(&key(&["publish", "metrics"], "*")), [true, false]);
    for who in [
        key(&["publish"], "*"),
        token("ann", None),
        token("ann", Some(&[("*", "publish")])),
        Subject::Anonymous,
    ] {
        assert_eq!(may(&who), [false, false], "{who:?}");
    }
}

#[test]
fn the_first_rule_that_covers_a_channel_sets_its_limits() {
    let rules = closed(
        "[[channel]]\nmatch = 'a.b'\nslow = 'drop-oldest'\n\
         [[channel]]\nmatch = 'a.{sub}'\nmessage_bytes = 10\npublish_rate = '100/m'\nallow = {}\n\
         [[channel]]\nmatch = '*'\nslow = 'latest'",
    );
    let slow = rules.limits("a.b");
    assert_eq!(
        (slow.slow, slow.message_bytes, slow.publish_rate),
        (Slow::DropOldest, None, None)
    );
    let small = rules.limits("a.c");
    assert_eq!(
        (small.slow, small.message_bytes),
        (Slow::Disconnect, Some(10))
    );
    assert_eq!(
        small.publish_rate.map(|rate| rate.to_string()).as_deref(),
        Some("100/m")
    );
    assert_eq!(rules.limits("x.y.z").slow, Slow::Latest);
    assert_eq!(closed("").limits("a"), ChannelLimits::default());
}
