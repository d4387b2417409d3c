//! Keys from a configuration, and files that change.

use hubplane_hub::Action;

use super::*;
use crate::folder::Folder;

fn key(letter: char) -> String {
    letter.to_string().repeat(MIN_KEY)
}

/// Reads the tables of a configuration.
fn keys(toml: &str) -> Result<Keys, String> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        key: Vec<KeyConfig>,
    }
    let file: File = toml::from_str(toml).map_err(|error| error.message().to_owned())?;
    Keys::new(&file.key)
}

/// Returns a table for a key in this file that may publish.
fn table(name: &str, path: &str) -> String {
    format!("[[key]]\nname = {name:?}\nkey = 'file:{path}'\nallow = ['publish']\n")
}

fn name_of(keys: &Keys, shown: &str) -> Option<String> {
    keys.find(shown).map(|grant| grant.name().to_owned())
}

#[test]
fn each_key_is_found_by_its_text_alone() {
    let folder = Folder::new();
    let text = ["orders", "chat"].map(|name| {
        let path = folder.write(name, &format!("{}\n", key(name.chars().next().unwrap())));
        table(name, &path)
    });
    let keys = keys(&text.concat()).unwrap();
    assert_eq!(name_of(&keys, &key('o')).as_deref(), Some("orders"));
    assert_eq!(name_of(&keys, &key('c')).as_deref(), Some("chat"));
    for other in [
        &*key('x'),
        "",
        &key('O'),
        &key('o')[1..],
        &format!("{}\n", key('o')),
    ] {
        assert_eq!(name_of(&keys, other), None, "{other:?}");
    }
    assert_eq!(format!("{keys:?}"), r#"["orders", "chat"]"#);
    assert!(Keys::new(&[]).unwrap().is_empty() && Keys::new(&[]).unwrap().find("").is_none());
}

#[test]
fn a_key_allows_what_its_words_say_on_its_channels() {
    let folder = Folder::new();
    let path = folder.write("k", &key('k'));
    let with = |fields: &str| {
        let table = format!("[[key]]\nname = 'k'\nkey = 'file:{path}'\n{fields}");
        keys(&table).unwrap().find(&key('k')).unwrap()
    };
    let grant = with("allow = ['publish', 'metrics']\nchannels = ['orders.*']");
    assert!(grant.allows(Action::Publish, "orders.7") && grant.allows(Action::Metrics, ""));
    assert!(!grant.allows(Action::Publish, "chat") && !grant.allows(Action::History, "orders.7"));
    assert!(!grant.allows(Action::Operate, "orders.7"));
    let somewhere = [
        Action::Publish,
        Action::History,
        Action::Metrics,
        Action::Operate,
    ];
    let somewhere = somewhere.map(|action| grant.allows_somewhere(action));
    assert_eq!(somewhere, [true, false, true, false]);
    let grant = with("allow = ['admin']\nchannels = []");
    assert!(grant.allows(Action::Operate, "") && grant.allows(Action::Metrics, ""));
    assert!(!grant.allows(Action::Publish, "a"));
    let grant = with("allow = ['subscribe']");
    assert!(grant.allows(Action::Subscribe, "any.channel") && !grant.allows(Action::Metrics, ""));
}

#[test]
fn the_key_of_a_key_file_allows_everything() {
    let folder = Folder::new();
    let path = folder.write("k", &format!("\u{feff}{}\r\n", key('k')));
    let keys = Keys::from_file(Path::new(&path)).unwrap();
    let grant = keys.find(&key('k')).unwrap();
    for action in [
        Action::Subscribe,
        Action::Publish,
        Action::History,
        Action::Presence,
        Action::Metrics,
        Action::Operate,
    ] {
        assert!(grant.allows(action, "any.channel"), "{action:?}");
    }
    assert!(grant.allows(Action::Metrics, ""));
}

#[test]
fn a_file_with_two_lines_changes_a_key_without_a_gap() {
    let folder = Folder::new();
    let path = folder.write("k", &key('a'));
    let keys = keys(&table("k", &path)).unwrap();
    let accepted = |keys: &Keys| ['a', 'b'].map(|it| keys.find(&key(it)).is_some());
    assert_eq!(keys.reload(), Reloaded::default());
    for (text, both) in [
        (format!("{}\n{}\n", key('a'), key('b')), [true, true]),
        (format!("\n{}\n", key('b')), [false, true]),
        (key('a'), [true, false]),
    ] {
        folder.write("k", &text);
        assert_eq!(keys.reload().changed, ["k"]);
        assert_eq!(accepted(&keys), both);
    }
}

#[test]
fn a_broken_file_keeps_the_keys_and_is_reported() {
    let folder = Folder::new();
    let [a, b] = ['a', 'b'].map(|it| folder.write(&it.to_string(), &key(it)));
    let keys = keys(&(table("first", &a) + &table("second", &b))).unwrap();
    let three = format!("{0}\n{0}1\n{0}2", key('c'));
    for (text, reason) in [
        ("", "it is empty"),
        ("short", "at least 32 bytes"),
        (&key('a')[1..], "at least 32 bytes"),
        (&*three, "it has 3 lines"),
        (&*"é".repeat(MIN_KEY), "ASCII"),
        (&*key('b'), "it holds the key of \"second\", too"),
    ] {
        folder.write("a", text);
        let reloaded = keys.reload();
        assert_eq!(reloaded.changed.len(), 0, "{text}");
        let [error] = &*reloaded.errors else {
            panic!("{reloaded:?}")
        };
        assert!(
            error.starts_with(&format!("key \"first\": the file {a}: ")),
            "{error}"
        );
        assert!(error.contains(reason), "{error}");
        assert!(
            !error.contains(&key('b')) && !error.contains("short"),
            "{error}"
        );
        assert_eq!(name_of(&keys, &key('a')).as_deref(), Some("first"));
        assert_eq!(name_of(&keys, &key('b')).as_deref(), Some("second"));
    }
    // The broken one keeps no other from being changed, and is read again once it is back.
    std::fs::remove_file(&a).unwrap();
    folder.write("b", &key('d'));
    let reloaded = keys.reload();
    assert_eq!(
        (reloaded.changed, reloaded.errors.len()),
        (vec!["second".to_owned()], 1)
    );
    folder.write("a", &key('e'));
    assert_eq!(keys.reload().changed, ["first"]);
    assert_eq!(
        ['a', 'b', 'd', 'e'].map(|it| keys.find(&key(it)).is_some()),
        [false, false, true, true]
    );
}

#[test]
fn what_is_wrong_is_named_and_no_key_is_shown() {
    let folder = Folder::new();
    let path = folder.write("k", &key('k'));
    let other = folder.write("same", &key('k'));
    let fields = |name: &str, place: &str, rest: &str| {
        format!("[[key]]\nname = {name:?}\nkey = {place:?}\n{rest}")
    };
    let place = format!("file:{path}");
    for (toml, reason) in [
        (
            fields("a b", &place, "allow = ['publish']"),
            "key 1: name: it has 1 to 64",
        ),
        (
            fields("k", &key('k'), "allow = ['publish']"),
            "key 1: (k): key: write env:NAME or file:PATH",
        ),
        (
            fields("k", &place, "allow = []"),
            "key 1: (k): allow: the key allows nothing",
        ),
        (
            fields("k", &place, "allow = ['write']"),
            "allow: \"write\" is no word",
        ),
        (
            fields("k", &place, "allow = ['publish']\nchannels = []"),
            "channels: the key allows publish, on no channel",
        ),
        (
            fields("k", &place, "allow = ['publish']\nchannels = ['{sub}']"),
            "channels: the pattern \"{sub}\"",
        ),
        (fields("k", &place, "alow = ['publish']"), "alow"),
        (fields("k", &place, ""), "missing field `allow`"),
        (
            table("k", &path) + &table("k", &other),
            "key 2: name: \"k\" is there twice",
        ),
        (
            table("k", &path) + &table("l", &other),
            "key \"l\": the file ",
        ),
        (table("k", &folder.path("none")), "none: No such file"),
    ] {
        let error = keys(&toml).unwrap_err();
        assert!(error.contains(reason), "{error}");
        assert!(!error.contains(&key('k')), "{error}");
    }
    let config = KeyConfig {
        name: "k".to_owned(),
        key: key('k'),
        allow: Vec::new(),
        channels: None,
    };
    assert!(!format!("{config:?}").contains(&key('k')));
}
