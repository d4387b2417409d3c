use super::*;
use crate::hub::command::ErrorCode;

fn reply(reply: &Reply<'_>) -> String {
    let mut out = Vec::new();
    JSON.reply(reply, &mut out);
    String::from_utf8(out).unwrap()
}

fn pushed(data: &'static [u8]) -> serde_json::Value {
    let publication = Publication {
        channel: "a\"b".into(),
        data: data.into(),
        position: Some(Position {
            epoch: 1,
            lane: 2,
            offset: 3,
        }),
        id: None,
        origin: None,
        tags: Vec::new(),
    };
    let mut out = Vec::new();
    JSON.push(&Push::Message(&publication), &mut out);
    serde_json::from_slice(&out).unwrap()
}

#[test]
fn commands_are_read() {
    let subscribe =
        JSON.decode(r#"{"type":"subscribe","ref":1,"channel":"jobs.42","since":"1-2-a"}"#);
    let since = Some(Position {
        epoch: 1,
        lane: 2,
        offset: 10,
    });
    assert_eq!(
        subscribe.unwrap(),
        Command::Subscribe {
            reference: Some("1".into()),
            channel: "jobs.42".into(),
            since
        }
    );
    let publish = JSON
        .decode(r#"{"channel":"c","data":null,"type":"publish","ref":"x","more":[]}"#)
        .unwrap();
    let data = Bytes::from_static(b"null");
    let reference = Some("\"x\"".into());
    assert_eq!(
        publish,
        Command::Publish {
            reference,
            channel: "c".into(),
            data,
            id: None
        }
    );
    assert_eq!(JSON.decode(r#"{"type":"ping"}"#).unwrap(), Command::Ping);
}

#[test]
fn what_cannot_be_carried_out_is_said_with_the_ref() {
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
        let refused = JSON.decode(text).unwrap_err();
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
    let deep = format!(
        "{{\"type\":\"ping\",\"x\":{}1{}}}",
        "[".repeat(10_000),
        "]".repeat(10_000)
    );
    let twice = r#"{"type":"ping","type":"ping"}"#;
    for text in ["", "1", "[]", "{", "{}", "\"type\"", twice, &deep] {
        assert!(JSON.decode(text).unwrap_err().fatal, "{text:.40}");
    }
}

#[test]
fn data_arrives_as_it_is() {
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
        position: None,
        recovered: false,
    };
    assert_eq!(
        reply(&subscribed),
        r#"{"type":"subscribed","ref":1,"channel":"c","position":null,"recovered":false}"#
    );
    let published = Reply::Published {
        reference: None,
        position: Some(Position {
            epoch: 1,
            lane: 0,
            offset: 255,
        }),
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
