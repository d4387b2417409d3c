//! What a token may say, and each thing that it must not.

use std::time::{Duration, SystemTime};

use hubplane_hub::Action;
use hubplane_identity::token::{MAX_INFO, MAX_PATTERNS, MAX_TOKEN, TokenError as E};

use crate::make::{NOW, hs256, issuers, make, now, settings, verify, verify_with};

#[test]
fn a_token_says_all_that_it_may() {
    let claims = verify(
        r#"{"sub":"ann","jti":"t1","iat":1,"tenant":"blue","level":3,"hubplane":{
            "permissions":[{"channels":["orders.*","news"],"allow":["subscribe","history"]},{"channels":[],"allow":[]}],
            "channels":["orders.7"], "info":{"name":"Ann B", "n": 12345678901234567890}, "channel":"orders.7",
            "role":"buyer"}}"#,
    )
    .unwrap();
    assert_eq!(claims.user.as_deref(), Some("ann"));
    assert_eq!(claims.token_id.as_deref(), Some("t1"));
    let expires = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW + 60);
    assert_eq!(claims.expires, expires);
    let permissions = claims.permissions.as_ref().unwrap();
    assert_eq!(permissions[0].channels, ["orders.*", "news"]);
    let allow = permissions[0].allow;
    assert!(allow.contains(Action::Subscribe) && allow.contains(Action::History));
    assert!(!allow.contains(Action::Publish) && !allow.contains(Action::Operate));
    assert_eq!(claims.channels, ["orders.7"]);
    let info = r#"{"name":"Ann B","n":12345678901234567890}"#;
    assert_eq!(claims.info.as_deref(), Some(info));
    assert_eq!(claims.channel.as_deref(), Some("orders.7"));
    let texts: Vec<_> = claims
        .texts
        .iter()
        .map(|(k, v)| format!("{k}={v}"))
        .collect();
    assert_eq!(texts, ["role=buyer", "tenant=blue"]);
}

#[test]
fn the_hubs_claims_may_stand_anywhere() {
    let mut settings = settings("secret.txt");
    for (namespace, claims) in [
        (
            "https://hub.example/claims",
            r#"{"https://hub.example/claims":{"channels":["c"]}}"#,
        ),
        ("", r#"{"channels":["c"]}"#),
        (
            "a.b",
            r#"{"a.b":{"channels":["c"]},"a":{"b":{"channels":["no"]}}}"#,
        ),
    ] {
        namespace.clone_into(&mut settings.claims);
        assert_eq!(
            verify_with(&settings, claims).unwrap().channels,
            ["c"],
            "{namespace}"
        );
        let other = r#"{"hubplane":{"channels":["c"]}}"#;
        assert_eq!(verify_with(&settings, other).unwrap().channels, [""; 0]);
    }
}

#[test]
fn whatever_is_wrong_has_an_error_of_its_own() {
    let long = "x".repeat(256);
    for (claims, error) in [
        ("[]", E::ClaimsNotAnObject),
        ("{", E::ClaimsNotAnObject),
        (r#"{"sub":"a","sub":"a"}"#, E::ClaimRepeated),
        (r#"{"x":{"a":1,"a":1}}"#, E::ClaimRepeated),
        (r#"{"x":[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]}"#, E::TooDeep),
        (r#"{"exp":"2000000000"}"#, E::ExpiryNotANumber),
        (r#"{"exp":null}"#, E::ExpiryNotANumber),
        (r#"{"exp":[2000000000]}"#, E::ExpiryNotANumber),
        (r#"{"exp":true}"#, E::ExpiryNotANumber),
        (r#"{"exp":-1}"#, E::ExpiryNegative),
        (r#"{"exp":-1e300}"#, E::ExpiryNegative),
        (r#"{"exp":253402300800}"#, E::ExpiryTooFar),
        (r#"{"exp":18446744073709551616}"#, E::ExpiryTooFar),
        (r#"{"exp":1e400}"#, E::ExpiryTooFar),
        (r#"{"exp":0}"#, E::Expired),
        (r#"{"nbf":"9"}"#, E::NotBeforeInvalid),
        (r#"{"nbf":-9}"#, E::NotBeforeInvalid),
        (r#"{"nbf":1e400}"#, E::NotBeforeInvalid),
        (r#"{"nbf":null}"#, E::NotBeforeInvalid),
        (r#"{"sub":7}"#, E::UserInvalid),
        (r#"{"sub":""}"#, E::UserInvalid),
        (r#"{"sub":null}"#, E::UserInvalid),
        (&format!(r#"{{"sub":"{long}"}}"#), E::UserInvalid),
        (r#"{"sub":"\ud800"}"#, E::UserInvalid),
        (r#"{"jti":1}"#, E::TokenIdInvalid),
        (r#"{"hubplane":[]}"#, E::NamespaceNotAnObject),
        (r#"{"hubplane":null}"#, E::NamespaceNotAnObject),
    ] {
        assert_eq!(verify(claims).unwrap_err(), error, "{claims}");
    }
    assert_eq!(
        issuers("secret.txt").verify(&hs256("{}"), now()),
        Err(E::ExpiryMissing)
    );
}

#[test]
fn the_hubs_claims_have_shapes_and_limits() {
    let long = "x".repeat(256);
    let many = vec!["\"c\""; MAX_PATTERNS + 1].join(",");
    let wide = "x".repeat(MAX_INFO - 1);
    for (own, error) in [
        (r#""permissions":{}"#, E::PermissionsInvalid),
        (r#""permissions":["orders.*"]"#, E::PermissionsInvalid),
        (
            r#""permissions":[{"channels":["a"]}]"#,
            E::PermissionsInvalid,
        ),
        (
            r#""permissions":[{"allow":["publish"]}]"#,
            E::PermissionsInvalid,
        ),
        (
            r#""permissions":[{"channels":"a","allow":["publish"]}]"#,
            E::PermissionsInvalid,
        ),
        (
            r#""permissions":[{"channels":["a"],"allow":["publish"],"deny":["b"]}]"#,
            E::PermissionsInvalid,
        ),
        (
            r#""permissions":[{"channels":[1],"allow":["publish"]}]"#,
            E::PatternInvalid,
        ),
        (
            r#""permissions":[{"channels":[""],"allow":["publish"]}]"#,
            E::PatternInvalid,
        ),
        (
            &format!(r#""permissions":[{{"channels":["{long}"],"allow":[]}}]"#),
            E::PatternInvalid,
        ),
        (
            &format!(r#""permissions":[{{"channels":[{many}],"allow":[]}}]"#),
            E::TooManyPatterns,
        ),
        (
            r#""permissions":[{"channels":["a"],"allow":["operate"]}]"#,
            E::ActionUnknown,
        ),
        (
            r#""permissions":[{"channels":["a"],"allow":["*"]}]"#,
            E::ActionUnknown,
        ),
        (
            r#""permissions":[{"channels":["a"],"allow":[null]}]"#,
            E::ActionUnknown,
        ),
        (r#""channels":"a""#, E::ChannelsInvalid),
        (r#""channels":[""]"#, E::ChannelsInvalid),
        (&format!(r#""channels":[{many}]"#), E::TooManyChannels),
        (r#""channel":["a"]"#, E::ChannelInvalid),
        (r#""channel":"a""#, E::ChannelWithoutUser),
        (&format!(r#""info":"{wide}""#), E::InfoTooLong),
        (r#""info":"\ud800""#, E::InfoInvalid),
        (r#""info":1e999"#, E::InfoInvalid),
    ] {
        let claims = format!(r#"{{"hubplane":{{{own}}}}}"#);
        assert_eq!(verify(&claims).unwrap_err(), error, "{claims}");
    }
    let most = format!(r#"{{"hubplane":{{"info":"{}"}}}}"#, &wide[1..]);
    assert_eq!(verify(&most).unwrap().info.unwrap().len(), MAX_INFO);
}

#[test]
fn times_count_with_leeway() {
    let at = |claims: &str, offset: i64| {
        let now = now() + Duration::from_secs(1_000);
        let now = now - Duration::from_secs(1_000_u64.wrapping_add_signed(-offset));
        issuers("secret.txt")
            .verify(&hs256(claims), now)
            .map(|_| ())
    };
    let exp = format!(r#"{{"exp":{NOW}}}"#);
    assert_eq!((at(&exp, 9), at(&exp, 10)), (Ok(()), Err(E::Expired)));
    let fraction = format!(r#"{{"exp":{NOW}.9}}"#);
    assert_eq!(
        (at(&fraction, 9), at(&fraction, 10)),
        (Ok(()), Err(E::Expired))
    );
    let nbf = format!(r#"{{"exp":2000000000,"nbf":{NOW}}}"#);
    assert_eq!(
        (at(&nbf, -10), at(&nbf, -11)),
        (Ok(()), Err(E::NotYetValid))
    );
    let last = verify(r#"{"exp":253402300799}"#).unwrap();
    assert_eq!(
        last.expires,
        SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_300_799)
    );
}

#[test]
fn issuer_and_audience_are_checked_if_they_are_set() {
    let mut settings = settings("secret.txt");
    assert!(
        verify_with(&settings, r#"{"iss":7,"aud":7}"#).is_ok(),
        "neither is set"
    );
    settings.issuer = Some("https://idp".to_owned());
    for (claims, error) in [
        ("{}", E::IssuerMissing),
        (r#"{"iss":["https://idp"]}"#, E::IssuerInvalid),
        (r#"{"iss":"https://idp/"}"#, E::IssuerUnknown),
    ] {
        assert_eq!(
            verify_with(&settings, claims).unwrap_err(),
            error,
            "{claims}"
        );
    }
    assert!(verify_with(&settings, r#"{"iss":"https://idp"}"#).is_ok());
    settings.issuer = None;
    settings.audience = vec!["hub".to_owned(), "hub2".to_owned()];
    for (claims, error) in [
        ("{}", E::AudienceMissing),
        (r#"{"aud":7}"#, E::AudienceInvalid),
        (r#"{"aud":["hub",7]}"#, E::AudienceInvalid),
        (r#"{"aud":[]}"#, E::AudienceWrong),
        (r#"{"aud":"Hub"}"#, E::AudienceWrong),
    ] {
        assert_eq!(
            verify_with(&settings, claims).unwrap_err(),
            error,
            "{claims}"
        );
    }
    for good in [r#"{"aud":"hub"}"#, r#"{"aud":["other","hub2"]}"#] {
        assert!(verify_with(&settings, good).is_ok(), "{good}");
    }
}

#[test]
fn a_token_has_three_parts_and_is_bounded() {
    let issuers = issuers("secret.txt");
    let good = hs256(r#"{"exp":2000000000}"#);
    assert!(issuers.verify(&good, now()).is_ok());
    let (start, signature) = good.rsplit_once('.').unwrap();
    for wrong in [
        "",
        ".",
        "a.b",
        "a.b.c",
        &format!("{good}.x"),
        &format!("{good}="),
        &format!("{good} "),
        &format!(" {good}"),
        &format!("{start}.{}B", &signature[..42]),
        &good.replace('.', ".."),
    ] {
        assert_eq!(issuers.verify(wrong, now()), Err(E::NotAToken), "{wrong}");
    }
    assert_eq!(issuers.verify("..", now()), Err(E::HeaderNotAnObject));
    assert_eq!(
        issuers.verify(&format!("{start}."), now()),
        Err(E::SignatureWrong)
    );
    assert_eq!(
        issuers.verify(&"x".repeat(MAX_TOKEN + 1), now()),
        Err(E::TooLong)
    );
    let unsigned = make(
        r#"{"alg":"none"}"#,
        r#"{"exp":2000000000}"#,
        "HS256",
        "secret.txt",
    );
    assert_eq!(issuers.verify(&unsigned, now()), Err(E::AlgorithmNone));
    for sentence in [E::TooLong, E::InfoTooLong].map(|error| error.to_string()) {
        assert!(sentence.contains("at most"), "{sentence}");
    }
}
