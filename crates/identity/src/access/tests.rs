use crate::{ANY, KeyConfig, MIN_KEY, folder::Folder};

use super::*;

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|&(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
        .collect()
}

/// A hub with one key that allows everything, and what anybody may do.
fn with_key(folder: &Folder, anonymous: Actions) -> (Access, String) {
    let text = "k".repeat(MIN_KEY);
    let file = folder.write("key", &text);
    let access = Access::new(AccessConfig {
        keys: Keys::from_file(file.as_ref()).unwrap(),
        anonymous,
        ..AccessConfig::default()
    });
    (access.unwrap(), text)
}

#[test]
fn only_the_key_is_the_key() {
    let folder = Folder::new();
    let (access, text) = with_key(&folder, Actions::NONE);
    let who = |access: &Access, pairs: &[(&'static str, &str)]| {
        access.grant_of(&headers(pairs)).map(|grant| grant.who)
    };
    assert_eq!(who(&access, &[]), Ok(Who::Anonymous));
    let bearer = format!("bearer {text}");
    assert_eq!(who(&access, &[("authorization", &bearer)]), Ok(Who::Key));
    let without = who(&Access::default(), &[("authorization", "Basic a2s=")]);
    assert_eq!(without, Ok(Who::Key), "a hub that knows nobody");
    for wrong in [
        "Bearer x",
        "Basic a2s=",
        "Bearer",
        &format!("Bearer {text}x"),
    ] {
        let refused = who(&access, &[("authorization", wrong)]);
        assert!(refused.is_err(), "{wrong}");
    }
    assert!(!format!("{access:?}").contains(&text));
}

#[test]
fn once_somebody_is_known_the_others_may_do_nothing_unless_it_is_said() {
    let folder = Folder::new();
    let all = [
        Action::Subscribe,
        Action::Publish,
        Action::History,
        Action::Metrics,
    ];
    let may = |access: &Access| {
        let grant = access.grant_of(&headers(&[])).unwrap();
        all.map(|action| grant.allows(action, "c"))
    };
    assert_eq!(may(&Access::default()), [true; 4]);
    let (closed, text) = with_key(&folder, Actions::NONE);
    assert_eq!(may(&closed), [false; 4]);
    let (listening, _) = with_key(&folder, Actions::from_iter([Action::Subscribe]));
    assert_eq!(may(&listening), [true, false, false, false]);
    let with_key = closed.prove(&text).unwrap();
    assert!(all.iter().all(|action| with_key.allows(*action, "c")));
}

#[test]
fn a_named_key_allows_what_it_says_and_rules_cut_it_down() {
    let folder = Folder::new();
    let text = "o".repeat(MIN_KEY);
    let file = folder.write("orders", &text);
    let config = |rules: &str| {
        #[derive(serde::Deserialize)]
        struct File {
            #[serde(default)]
            channel: Vec<RuleConfig>,
        }
        let key = KeyConfig {
            name: "orders".to_owned(),
            key: format!("file:{file}"),
            allow: vec!["publish".to_owned()],
            channels: Some(vec!["orders.*".to_owned()]),
        };
        Access::new(AccessConfig {
            keys: Keys::new(&[key]).unwrap(),
            rules: toml::from_str::<File>(rules).unwrap().channel,
            ..AccessConfig::default()
        })
        .unwrap()
    };
    let grant = config("").prove(&text).unwrap();
    assert_eq!(
        (grant.who, grant.name.as_deref()),
        (Who::Key, Some("orders"))
    );
    assert!(grant.allows(Action::Publish, "orders.7"));
    assert!(!grant.allows(Action::Subscribe, "orders.7"));
    assert!(!grant.allows(Action::Publish, "news") && !grant.allows(Action::Metrics, ""));
    let rules =
        "[[channel]]\nmatch = \"orders.7\"\nallow = { key = [], anonymous = [\"subscribe\"] }";
    let cut = config(rules);
    assert!(
        !cut.prove(&text)
            .unwrap()
            .allows(Action::Publish, "orders.7")
    );
    assert!(
        cut.prove(&text)
            .unwrap()
            .allows(Action::Publish, "orders.8")
    );
    let anybody = cut.grant_of(&headers(&[])).unwrap();
    assert!(anybody.allows(Action::Subscribe, "orders.7"));
    assert!(!anybody.allows(Action::Subscribe, "orders.8"));
    let why = cut
        .explain(Some(&text), Action::Publish, "orders.7")
        .unwrap();
    assert_eq!(why.rule, Some(1));
}

#[test]
fn a_rule_that_names_keys_holds_for_the_key_that_allows_everything_too() {
    let folder = Folder::new();
    let text = "k".repeat(MIN_KEY);
    let file = folder.write("key", &text);
    let rule: RuleConfig =
        toml::from_str("match = 'audit.*'\nallow = { key = ['history'] }").unwrap();
    let access = Access::new(AccessConfig {
        keys: Keys::from_file(file.as_ref()).unwrap(),
        rules: vec![rule],
        ..AccessConfig::default()
    });
    let grant = access.unwrap().prove(&text).unwrap();
    assert!(grant.allows(Action::History, "audit.7") && grant.allows(Action::Publish, "other"));
    assert!(!grant.allows(Action::Publish, "audit.7"));
}

#[test]
fn foreign_pages_are_kept_out() {
    let own = Access::default();
    let from = |origin: &str| headers(&[("host", "app.example:8080"), ("origin", origin)]);
    assert!(own.origin_is_allowed(&headers(&[("host", "app.example")])));
    assert!(own.origin_is_allowed(&from("http://app.example:8080")));
    for foreign in [
        "http://app.example",
        "https://evil.example",
        "null",
        "http://app.example:8080.evil",
    ] {
        assert!(!own.origin_is_allowed(&from(foreign)), "{foreign}");
    }
    for (host, origin) in [
        ("app.example:443", "https://app.example"),
        ("app.example", "https://app.example:443"),
        ("APP.example", "http://app.example:80"),
        ("[::1]:8080", "http://[::1]:8080"),
    ] {
        let same = headers(&[("host", host), ("origin", origin)]);
        assert!(own.origin_is_allowed(&same), "{host} {origin}");
    }
    let other_port = headers(&[
        ("host", "app.example:80"),
        ("origin", "https://app.example"),
    ]);
    assert!(!own.origin_is_allowed(&other_port));
    let of_pages = |origins: &[&str]| {
        let origins = origins.iter().map(|it| (*it).to_owned()).collect();
        Access::new(AccessConfig {
            origins,
            ..AccessConfig::default()
        })
        .unwrap()
    };
    let listed = of_pages(&["https://app.example"]);
    assert!(listed.origin_is_allowed(&from("https://app.example")));
    assert!(listed.origin_is_allowed(&from("https://App.example:443")));
    assert!(!listed.origin_is_allowed(&from("http://app.example:8080")));
    let all = of_pages(&[ANY]);
    assert!(all.origin_is_allowed(&from("null")));
}

#[test]
fn a_channels_limits_hold_for_everybody() {
    let folder = Folder::new();
    let text = "k".repeat(MIN_KEY);
    let file = folder.write("key", &text);
    let short = RuleConfig {
        pattern: "short.*".to_owned(),
        message_bytes: Some(3),
        ..RuleConfig::default()
    };
    let access = Access::new(AccessConfig {
        keys: Keys::from_file(file.as_ref()).unwrap(),
        rules: vec![short],
        ..AccessConfig::default()
    });
    let access = access.unwrap();
    let bearer = format!("Bearer {text}");
    for shown in [&[][..], &[("authorization", &*bearer)]] {
        let grant = access.grant_of(&headers(shown)).unwrap();
        assert_eq!(grant.limits("short.a").message_bytes, Some(3), "{shown:?}");
        assert_eq!(grant.limits("a"), hubplane_hub::ChannelLimits::default());
    }
}
