//! Thousands of tokens, most of them spoilt at random, read by the crate and by a second reader:
//! both accept the same ones and read the same of them. `jsonwebtoken`'s own decoding must accept
//! what the crate accepts.
//!
//! `HUBPLANE_TOKEN_CASES` and `HUBPLANE_TOKEN_SEED` make longer and other runs.

use std::collections::{BTreeMap, BTreeSet};

use hubplane_identity::token::{Claims, Issuers, TokenError};

use crate::{
    library,
    make::{ALGORITHMS, NOW, encode, make, now, public, settings},
    second::{self, Said, Verdict},
};

const NAMESPACES: [&str; 3] = ["hubplane", "https://hub.example/claims", ""];
/// Values that take the place of a claim's, as JSON.
const VALUES: [&str; 26] = [
    "null",
    "true",
    "0",
    "-1",
    "1900000000",
    "1900000011",
    "1899999990",
    "1899999991",
    "1900000010",
    "1e9",
    "2e9",
    "253402300799",
    "253402300800",
    "1.9e9",
    r#""9""#,
    r#""""#,
    r#""a""#,
    r#""hub""#,
    r#"["hub"]"#,
    "[]",
    "{}",
    r#"[1]"#,
    r#""idp""#,
    r#"[{"channels":["a"],"allow":["publish"]}]"#,
    r#"["a","b"]"#,
    r#"{"a":1,"a":2}"#,
];

/// A generator of numbers (xorshift64*), the same for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number).unwrap() % end
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

type Members = Vec<(String, String)>;

fn write(members: &Members) -> String {
    let members: Vec<_> = members
        .iter()
        .map(|(name, json)| format!("\"{name}\":{json}"))
        .collect();
    format!("{{{}}}", members.join(","))
}

/// Spoils an object: a member is missing, doubled, replaced or renamed.
fn spoil(random: &mut Random, members: &mut Members) {
    if members.is_empty() {
        return;
    }
    let at = random.below(members.len());
    match random.below(5) {
        0 => _ = members.remove(at),
        1 => members.insert(random.below(members.len()), members[at].clone()),
        2 => members[at].0.push('x'),
        _ => random.of(&VALUES).clone_into(&mut members[at].1),
    }
}

/// Spoils a text anywhere.
fn spoil_text(random: &mut Random, text: &str) -> String {
    let mut letters: Vec<char> = text.chars().collect();
    let at = random.below(letters.len());
    let letter = random.of(&[
        '"', '{', '}', ',', ':', '0', '9', 'e', '-', '.', 'a', '\\', ' ', 'é', '[', ']', '_', 'A',
    ]);
    match random.below(4) {
        0 => _ = letters.remove(at),
        1 => letters.insert(at, letter),
        2 => letters.truncate(at),
        _ => letters[at] = letter,
    }
    letters.into_iter().collect()
}

fn claims(random: &mut Random, namespace: &str) -> Members {
    let member = |name: &str, json: &str| (name.to_owned(), json.to_owned());
    let mut own = vec![
        member(
            "permissions",
            r#"[{"channels":["orders.*","b"],"allow":["subscribe","history"]},{"channels":["c"],"allow":["publish","presence","publish"]}]"#,
        ),
        member("channels", r#"["orders.7","c"]"#),
        member("info", r#"{ "name": "A \"n\" n", "age": 7 }"#),
        member("channel", r#""orders.7""#),
        member("role", r#""buyer""#),
    ];
    own.retain(|_| !random.one_in(4));
    if random.one_in(5) {
        spoil(random, &mut own);
    }
    let mut all = vec![
        member("exp", &(NOW + 60).to_string()),
        member("nbf", &(NOW - 5).to_string()),
        member("iss", r#""idp""#),
        member("aud", r#"["x","hub"]"#),
        member("sub", r#""ann""#),
        member("jti", r#""t1""#),
        member("tenant", r#""blue""#),
        member("role", r#""other""#),
    ];
    all.retain(|(name, _)| ["exp", "iss", "aud"].contains(&&**name) || !random.one_in(4));
    if namespace.is_empty() {
        all.retain(|(name, _)| name != "role");
        all.extend(own);
    } else {
        all.push(member(namespace, &write(&own)));
    }
    if random.one_in(3) {
        spoil(random, &mut all);
    }
    all
}

/// Makes a token, its algorithm's private key, and perhaps spoils it.
fn token(random: &mut Random, namespace: &str) -> (String, &'static str) {
    // Signing with a key pair takes a hundred times as long.
    let (algorithm, private) = loop {
        let (algorithm, private) = random.of(&ALGORITHMS);
        if private == "secret.txt" || random.one_in(24) {
            break (algorithm, private);
        }
    };
    let mut claims = write(&claims(random, namespace));
    if random.one_in(5) {
        claims = spoil_text(random, &claims);
    }
    let mut header = vec![
        ("alg".to_owned(), format!("\"{algorithm}\"")),
        ("typ".to_owned(), "\"JWT\"".to_owned()),
    ];
    match random.below(12) {
        0 => header.push((
            "kid".to_owned(),
            random.of(&["\"a\"", "7", "\"\""]).to_owned(),
        )),
        1 => header.push((
            random
                .of(&["crit", "b64", "jwk", "jku", "x5u", "x5c", "alg"])
                .to_owned(),
            random.of(&VALUES).to_owned(),
        )),
        2 => {
            header[0].1 = format!(
                "\"{}\"",
                random.of(&["none", "None", "HS256", "RS256", "ES256", "", "hs256"])
            )
        }
        3 => spoil(random, &mut header),
        _ => {}
    }
    let mut header = write(&header);
    if random.one_in(20) {
        header = spoil_text(random, &header);
    }
    let mut token = make(&header, &claims, algorithm, private);
    if random.one_in(5) {
        token = match random.below(4) {
            0 => format!("{token}.{}", encode("x")),
            1 => token.replacen('.', "", 1),
            _ => spoil_text(random, &token),
        };
    }
    (token, private)
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

#[test]
fn two_readers_agree_on_spoilt_tokens() {
    let (cases, seed) = (
        number("HUBPLANE_TOKEN_CASES", 4_000),
        number("HUBPLANE_TOKEN_SEED", 1),
    );
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut known: BTreeMap<(&str, &str), Issuers> = BTreeMap::new();
    let (mut accepted, mut unsure, mut errors) = (0, 0, BTreeSet::new());
    for case in 0..cases {
        let namespace = random.of(&NAMESPACES);
        let (token, mut private) = token(&mut random, namespace);
        if random.one_in(20) {
            private = random.of(&ALGORITHMS).1;
        }
        let issuers = known.entry((private, namespace)).or_insert_with(|| {
            let mut settings = settings(&public(private));
            settings.issuer = Some("idp".to_owned());
            settings.audience = vec!["hub".to_owned()];
            namespace.clone_into(&mut settings.claims);
            Issuers::new(vec![settings]).unwrap()
        });
        let read = issuers.verify(&token, now());
        let why = format!("seed {seed}, case {case}: {private} {namespace:?} {token}\n{read:?}");
        match (&read, second::check(&token, private, namespace)) {
            (_, Verdict::Unsure) => unsure += 1,
            (Ok(claims), Verdict::Accepted(said)) => {
                accepted += 1;
                assert!(same(claims, &said), "{why}\n{said:?}");
                library::accepts(&token, private).unwrap_or_else(|error| panic!("{error}: {why}"));
            }
            (Err(error), Verdict::Refused) => _ = errors.insert(name(*error)),
            (_, other) => panic!("{why}\n{other:?}"),
        }
    }
    // The comparison is worth something only if both outcomes are common.
    assert!(
        accepted * 10 > cases && unsure * 20 < cases,
        "{accepted} {unsure}"
    );
    assert!(cases < 4_000 || errors.len() > 30, "{errors:?}");
}

fn name(error: TokenError) -> String {
    format!("{error:?}")
}

fn same(claims: &Claims, said: &Said) -> bool {
    let permissions = claims.permissions.iter().flatten().map(|permission| {
        let allow = permission.allow.names().map(str::to_owned).collect();
        (permission.channels.clone(), allow)
    });
    let expires = claims
        .expires
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let info = claims
        .info
        .as_ref()
        .map(|info| serde_json::from_str(info).unwrap());
    claims.user == said.user
        && claims.token_id == said.token_id
        && (expires.as_secs_f64() - said.expires).abs() < 1.5
        && permissions.collect::<Vec<_>>() == said.permissions
        && claims.channels == said.channels
        && info == said.info
        && claims.channel == said.channel
        && claims.texts == said.texts
}
