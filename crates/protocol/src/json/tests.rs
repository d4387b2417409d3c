//! The wire is compared as text where clients may rely on it, and as JSON where only its meaning
//! counts.

use std::time::Duration;

use bytes::Bytes;

use super::*;
use hubplane_hub::{
    Grant, MaxRate,
    command::{Command, ErrorCode},
    presence::{Change, Member, PresenceOptions, Roster},
};

/// A reply as its bytes are sent.
fn reply(reply: &Reply<'_>) -> String {
    let mut out = Vec::new();
    JSON.reply(reply, &mut out);
    String::from_utf8(out).unwrap()
}

/// A message with this data as a client reads it. The channel has a quotation mark, to be escaped.
fn pushed(data: &'static [u8]) -> serde_json::Value {
    let message = Message {
        channel: "a\"b".into(),
        data: data.into(),
        position: Some("1-2-3".parse().unwrap()),
        id: None,
        origin: None,
        tags: Vec::new(),
    };
    let mut out = Vec::new();
    JSON.push(&Push::Message(&message), &mut out);
    serde_json::from_slice(&out).unwrap()
}

#[test]
// Fields in any order, unknown ones ignored, `null` as data.
fn commands_are_read() {
    let subscribe =
        Json::decode(r#"{"type":"subscribe","ref":1,"channel":"jobs.42","since":"1-2-a"}"#);
    let since = Some("1-2-a".parse().unwrap());
    assert_eq!(
        subscribe.unwrap(),
        Command::Subscribe {
            reference: Some("1".into()),
            channel: "jobs.42".into(),
            tag: None,
            since,
            presence: None,
            max_rate: None,
        }
    );
    let publish =
        Json::decode(r#"{"channel":"c","data":null,"type":"publish","ref":"x","more":[]}"#)
            .unwrap();
    // `null` is data like any other, and not a missing field.
    let data = Bytes::from_static(b"null");
    // A `ref` comes back exactly as it was written, quotation marks and all.
    let reference = Some("\"x\"".into());
    assert_eq!(
        publish,
        Command::Publish {
            reference,
            channel: "c".into(),
            data,
            id: None,
            not_to_me: false,
        }
    );
    assert_eq!(Json::decode(r#"{"type":"ping"}"#).unwrap(), Command::Ping);
}

#[test]
fn what_cannot_be_carried_out_is_said_with_the_ref() {
    // Each is sent with `ref` 7, and must be answered with it.
    for (text, says) in [
        (r#"{"type":"subscribe","ref":7}"#, "channel is missing"),
        (
            r#"{"type":"publish","ref":7,"channel":"c"}"#,
            "data is missing",
        ),
        (
            r#"{"type":"publish","ref":7,"channel":"c","data":1,"id":"a b"}"#,
            "id is 1 to 64",
        ),
        (
            r#"{"type":"subscribe","ref":7,"channel":"c","since":"x"}"#,
            "not a position",
        ),
        (r#"{"type":"dance","ref":7}"#, "type is one of"),
    ] {
        let refused = Json::decode(text).unwrap_err();
        assert!(refused.message.contains(says), "{refused:?}");
        assert_eq!(
            (refused.reference.as_deref(), refused.fatal),
            (Some("7"), false),
            "{text}"
        );
    }
}

#[test]
fn what_is_no_message_ends_the_session() {
    // Ten thousand levels would overflow the stack of a parser that recurses.
    let deep = format!(
        "{{\"type\":\"ping\",\"x\":{}1{}}}",
        "[".repeat(10_000),
        "]".repeat(10_000)
    );
    // Twice the same field, and an array where serde would take one for a struct.
    let twice = r#"{"type":"ping","type":"ping"}"#;
    let array = r#"["ping"]"#;
    for text in ["1", "[]", array, "{", "{}", "\"type\"", twice, &deep] {
        assert!(Json::decode(text).unwrap_err().fatal, "{text:.40}");
    }
    // Empty text is a mistake, but no sign of another protocol.
    assert!(!Json::decode("").unwrap_err().fatal, "it is only empty");
}

#[test]
fn data_arrives_as_it_is() {
    // JSON stays JSON, text becomes a string, and bytes become base64 (RFC 4648, section 4).
    assert_eq!(
        pushed(b"{\"a\": [1, null]}")["data"],
        serde_json::json!({"a": [1, null]})
    );
    assert_eq!(pushed(b"plain \x00 text")["data"], "plain \0 text");
    assert_eq!(pushed(b"")["data"], "");
    assert_eq!(
        pushed(b"\xff\x00")["data"],
        serde_json::json!({"base64": "/wA="})
    );
    let whole = pushed(b"1");
    assert_eq!(
        // Names are escaped; positions are text.
        (&whole["channel"], &whole["position"]),
        (&"a\"b".into(), &"1-2-3".into())
    );
    assert!(whole["id"].is_null());
}

#[test]
fn replies_have_the_documented_form() {
    let subscribed = Reply::Subscribed {
        reference: Some("1"),
        channel: "c",
        tag: None,
        position: None,
        recovered: false,
        missed: &[],
        members: None,
    };
    assert_eq!(
        // The order of the fields is part of the text, though not of the promise.
        reply(&subscribed),
        r#"{"type":"subscribed","ref":1,"channel":"c","position":null,"recovered":false}"#
    );
    let published = Reply::Published {
        // Without `ref` the field is absent, and not null.
        reference: None,
        position: Some("1-0-ff".parse().unwrap()),
    };
    assert_eq!(
        reply(&published),
        r#"{"type":"published","position":"1-0-ff"}"#
    );
    let error = Reply::Error {
        reference: Some("\"r\""),
        code: ErrorCode::Forbidden,
        message: "no",
    };
    assert_eq!(
        reply(&error),
        r#"{"type":"error","ref":"r","code":"forbidden","message":"no"}"#
    );
}

/// A member with text to escape and JSON to copy.
fn member(client: &str) -> Member {
    Member {
        client: client.into(),
        user: Some("ann \"a\"".into()),
        info: Some("{\"n\":1}".into()),
        verified: false,
    }
}

#[test]
fn a_rate_is_read_and_a_wrong_one_says_what_is_right() {
    let read = |rate: &str| {
        let text = format!(r#"{{"type":"subscribe","ref":3,"channel":"c","max_rate":{rate}}}"#);
        Json::decode(&text).map(|command| match command {
            Command::Subscribe { max_rate, .. } => max_rate,
            other => panic!("{other:?}"),
        })
    };
    for rate in [1, 5, 1_000] {
        assert_eq!(read(&rate.to_string()), Ok(MaxRate::new(rate).ok()));
    }
    assert_eq!(read("null"), Ok(None));
    for wrong in [
        "0",
        "1001",
        "-1",
        "1.5",
        "\"5\"",
        "{}",
        "1e2",
        "99999999999999999999",
    ] {
        let refused = read(wrong).unwrap_err();
        assert_eq!(refused.reference.as_deref(), Some("3"));
        let right = "max_rate is a whole number of messages a second, from 1 to 1000";
        assert_eq!(
            (&*refused.message, refused.fatal),
            (right, false),
            "{wrong}"
        );
    }
}

#[test]
fn presence_is_read() {
    let presence = |text: &str| {
        let text = format!(r#"{{"type":"subscribe","channel":"c","presence":{text}}}"#);
        match Json::decode(&text).unwrap() {
            Command::Subscribe { presence, .. } => presence,
            other => panic!("{other:?}"),
        }
    };
    // Everything that a client can say of itself.
    let full = r#"{"client":"a","user":"ann \"a\"","info":{"n":1},"watch":true}"#;
    let attendance = PresenceOptions {
        member: Some(member("a")),
        watch: true,
    };
    assert_eq!(presence(full), Some(Box::new(attendance)));
    let watch = presence(r#"{"watch":true}"#).unwrap();
    assert!(watch.watch && watch.member.is_none());
    // `info: null` is the same as none.
    let bare = presence(r#"{"client":"a","info":null}"#).unwrap();
    let bare = (bare.watch, bare.member.unwrap());
    assert_eq!((bare.0, bare.1.user, bare.1.info), (false, None, None));
    assert_eq!(presence("null"), None, "nothing is said of it");
    // An empty object asks for nothing, which is allowed.
    let neither = presence("{}").unwrap();
    assert!(!neither.watch && neither.member.is_none());
    // A user without a client is refused, but the session goes on.
    let nameless = r#"{"type":"subscribe","channel":"c","presence":{"user":"ann"}}"#;
    assert!(!Json::decode(nameless).unwrap_err().fatal);
    assert_eq!(
        Json::decode(r#"{"type":"presence","ref":1,"channel":"c"}"#),
        Ok(Command::Members {
            reference: Some("1".into()),
            channel: "c".into()
        })
    );
}

#[test]
fn members_are_written() {
    let roster = Roster {
        // Three are there and two are named, so there are more.
        count: 3,
        members: vec![
            member("a"),
            Member {
                client: "b".into(),
                user: None,
                info: None,
                verified: false,
            },
        ],
    };
    let answer = Reply::Members {
        reference: Some("7"),
        channel: "c",
    };
    let all = r#""channel":"c","count":3,"members":[{"client":"a","user":"ann \"a\"","info":{"n":1}},{"client":"b","user":null,"info":null}],"more":true}"#;
    // The beginning is written with the reply, the rest apart.
    let mut out = reply(&answer).into_bytes();
    JSON.members("c", &roster, &mut out);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        format!(r#"{{"type":"presence","ref":7,{all}"#)
    );
    // Over HTTP it is an object of its own, without type and ref.
    let mut out = Vec::new();
    members("c", &roster, &mut out);
    assert_eq!(String::from_utf8(out).unwrap(), format!("{{{all}"));
    for (joined, kind) in [(true, "join"), (false, "leave")] {
        let change = Change {
            channel: "c".into(),
            member: member("a"),
            joined,
        };
        let mut out = Vec::new();
        JSON.push(&Push::Presence(&change), &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            format!(
                r#"{{"type":"{kind}","channel":"c","client":"a","user":"ann \"a\"","info":{{"n":1}}}}"#
            )
        );
    }
}

#[test]
fn a_token_is_shown_and_answered() {
    let auth = Json::decode(r#"{"type":"auth","ref":1,"token":"a.b.c"}"#).unwrap();
    let Command::Authenticate { reference, proof } = auth else {
        panic!("{auth:?}");
    };
    assert_eq!((reference.as_deref(), proof.reveal()), (Some("1"), "a.b.c"));
    let missing = Json::decode(r#"{"type":"auth"}"#).unwrap_err();
    assert_eq!(missing.message, "token is missing");
    let long = format!(
        r#"{{"type":"auth","token":"{}"}}"#,
        "t".repeat(MAX_TOKEN + 1)
    );
    let refused = Json::decode(&long).unwrap_err();
    assert!(
        !refused.fatal && refused.message.contains("8192"),
        "{refused:?}"
    );
    let until = std::time::Instant::now() + Duration::from_millis(60_500);
    let grant = Grant::key().named("ann").until(until);
    let answer = |grant| {
        let reference = Some("1");
        reply(&Reply::Authenticated { reference, grant })
    };
    assert_eq!(
        answer(&grant),
        r#"{"type":"authenticated","ref":1,"user":"ann","expires_in":60}"#
    );
    assert_eq!(answer(&Grant::key()), r#"{"type":"authenticated","ref":1}"#);
    assert_eq!(
        reply(&Reply::Expiring(25)),
        r#"{"type":"expiring","expires_in":25}"#
    );
}
