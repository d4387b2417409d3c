use super::*;
use crate::ErrorKind;

#[test]
fn the_parts_are_found() {
    let address: Address =
        "kafka://me:p%40ss@a:9092,[::1]:9093,c/some/path?topic=news&kafka.x=1%262"
            .parse()
            .unwrap();
    assert_eq!(address.scheme(), "kafka");
    assert_eq!(address.username(), Some("me"));
    assert_eq!(address.inline_password().unwrap().reveal(), "p@ss");
    let hosts: Vec<_> = address
        .hosts()
        .iter()
        .map(|host| host.with_port(1))
        .collect();
    assert_eq!(hosts, ["a:9092", "[::1]:9093", "c:1"]);
    assert_eq!(address.path(), "some/path");
    assert_eq!(
        address.params()[1],
        ("kafka.x".to_owned(), "1&2".to_owned())
    );
}

#[test]
fn parts_can_be_exchanged() {
    let address: Address = "redis://me:secret@a:1,b/0?prefix=x&tls=true"
        .parse()
        .unwrap();
    let moved = address.with("prefix", "a&b").at("h", Some(7));
    assert_eq!(
        moved.to_string(),
        "redis://me:***@h:7/0?tls=true&prefix=a&b"
    );
    assert_eq!(moved.inline_password().unwrap().reveal(), "secret");
    assert_eq!(moved.settings("x").text("prefix").unwrap(), Some("a&b"));
}

#[test]
fn short_forms_are_addresses() {
    let memory: Address = "memory:".parse().unwrap();
    assert!(memory.hosts().is_empty());
    let named: Address = "memory://news".parse().unwrap();
    assert_eq!(named.hosts()[0].name, "news");
}

#[test]
fn secrets_are_not_shown() {
    let text = "redis://u:hunter2@h/0?password=hunter2&kafka.ssl.key.password=hunter2&\
                password-file=file:/x&ca=/ca.pem";
    let shown = format!("{0} {0:?}", text.parse::<Address>().unwrap());
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(
        shown.contains("file:/x") && shown.contains("/ca.pem"),
        "{shown}"
    );
}

/// What an error says of an address that holds `hunter2` where a password may be. Each scheme has its own meaning for what
/// follows the hosts; reading must fail before any of them sees it.
#[test]
fn an_error_never_shows_what_may_be_a_secret() {
    let tails = [
        "://app:hunter2/x@h",
        "://app:hunter2?x@h",
        "://app:x/hunter2@h",
        "://app:x?hunter2@h:1",
        "://app:12/hunter2@h",
        "://app:12?hunter2@h",
        "://app:12?a=hunter2@h",
        "://app:12?hunter2=a@h",
        "://app:hunter2#x",
        "://hunter2#x",
        "://hunter2:hunter2",
        "://app:hunter2@",
        "://app:hunter2@h:port",
        "://app:hunter2@h:0",
        "://app:hunter2@h:70000",
        "://app:hunter2@:1",
        "://app:x@hunter2#@h/hunter2@",
        "://app:hunter2%ff@h",
        "://app:hunter2@[h]",
        "://app:hunter2@[::1]x",
        "://h?password=a&hunter2=1&hunter2=2",
        "://h?hunter2%ff=1",
        ":app:hunter2@h",
        ":/app:hunter2@h",
        "//app:hunter2@h",
        "",
    ];
    let schemes = [
        "memory",
        "redis",
        "rediss",
        "redis+streams",
        "rediss+streams",
        "kafka",
        "amqp",
        "amqps",
        "amqp+streams",
        "amqps+streams",
    ];
    for (tail, scheme) in tails.iter().flat_map(|tail| schemes.map(|it| (tail, it))) {
        let text = format!("{scheme}{tail}");
        match text.parse::<Address>() {
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Config, "{text}");
                assert!(!error.to_string().contains("hunter2"), "{text}: {error}");
            }
            // Without a host, the driver refuses it; nothing was shown so far.
            Ok(address) => assert!(address.hosts().is_empty(), "{text}"),
        }
    }
    for text in [
        "hunter2",
        "hunter2@h:6379",
        ":hunter2@h",
        "re dis://u:hunter2@h",
        "5hunter2:x",
    ] {
        let error = text.parse::<Address>().unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
        assert!(error.contains("redis://127.0.0.1:6379"), "{error}");
    }
}

#[test]
fn an_error_says_how_to_write_a_secret() {
    let error = "redis://app:hunter2/x@h".parse::<Address>().unwrap_err();
    assert!(error.message().contains("%2F for /"), "{error}");
    let encoded: Address = "redis://app:hunter2%2Fx%40@h".parse().unwrap();
    assert_eq!(encoded.inline_password().unwrap().reveal(), "hunter2/x@");
}

#[test]
fn a_host_without_a_scheme_is_shown_with_one() {
    for text in ["127.0.0.1:6379", "localhost:6379", "127.0.0.1", "localhost"] {
        let error = text.parse::<Address>().unwrap_err();
        let host = text.trim_end_matches(":6379");
        let right = format!("write redis://{host}:6379");
        assert!(error.message().contains(&right), "{error}");
    }
}

#[test]
fn what_is_wrong_is_refused() {
    for text in [
        "redis",
        ":x",
        "a b://x",
        "redis:x",
        "redis://h:70000",
        "redis://h:0",
        "redis://:1",
        "redis://a b",
        "redis://[::1",
        "redis://[1]:1",
        "redis://h?a=1&a=2",
    ] {
        assert_eq!(
            text.parse::<Address>().unwrap_err().kind(),
            ErrorKind::Config,
            "{text}"
        );
    }
    let twice = "redis://h?a=1&a=2".parse::<Address>().unwrap_err();
    assert!(twice.message().contains("\"a\" is given twice"), "{twice}");
}

#[test]
fn white_space_and_a_byte_order_mark_around_it_do_not_count() {
    let address: Address = "\u{feff}  redis://h:1/2\r\n".parse().unwrap();
    assert_eq!(address.to_string(), "redis://h:1/2");
}

#[test]
fn a_user_name_alone_is_not_shown() {
    let shown = |text: &str| text.parse::<Address>().unwrap().to_string();
    assert_eq!(shown("redis://hunter2@h"), "redis://***@h");
    assert_eq!(
        shown("redis://me@h?password=x"),
        "redis://me@h?password=***"
    );
}
