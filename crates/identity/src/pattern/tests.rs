//! Patterns by examples, and against the second implementation on random texts.

use super::*;
use crate::random::{PATTERN_PARTS, Random, claims_of, naive};

fn covers(pattern: &str, channel: &str) -> bool {
    Pattern::parse(pattern).unwrap().covers(channel)
}

fn fits(pattern: &str, channel: &str, sub: &str) -> bool {
    let claims = Claims::from_iter([("sub", sub)]);
    Pattern::parse(pattern).unwrap().fits(channel, &claims)
}

#[test]
fn a_star_stays_between_dots_unless_it_is_the_end() {
    for (pattern, yes, no) in [
        (
            "orders.7",
            &["orders.7"][..],
            &["orders.77", "Orders.7", "orders", "orders.7."][..],
        ),
        (
            "orders.*",
            &["orders.7", "orders.7.state", "orders.", "orders.*"],
            &["orders", "orders7", "xorders.7"],
        ),
        (
            "orders*",
            &["orders", "orders.7", "orders7.x"],
            &["order", "xorders"],
        ),
        ("*", &["a", "a.b", "%2f", "é"], &[]),
        (
            "*.state",
            &["a.state", ".state"],
            &["state", "a.b.state", "a.state.b"],
        ),
        ("a.*.c", &["a.b.c", "a..c"], &["a.c", "a.b.b.c", "a.b.c.d"]),
        (
            "a*b*.c",
            &["ab.c", "axbx.c", "abab.c"],
            &["a.b.c", "ab", "aab"],
        ),
        ("*a*b", &["ab", "xaxb", "aabb"], &["ba", "a.b", "abx"]),
        ("*a*a", &["aa", "xaxa"], &["a", "xa"]),
        ("aa*aa", &["aaaa", "aaxaa"], &["aaa", "aa"]),
        ("a*b*", &["ab", "axb.c.d"], &["a.b", "ac.b"]),
        ("a..b", &["a..b"], &["a.b", "a.x.b"]),
        ("%2f/?[a]", &["%2f/?[a]"], &["//?[a]", "%2f/xa"]),
        ("é", &["é"], &["e\u{301}", "e"]),
    ] {
        for name in yes {
            assert!(covers(pattern, name), "{pattern} {name}");
        }
        for name in no {
            assert!(!covers(pattern, name), "{pattern} {name}");
        }
    }
}

#[test]
fn a_placeholder_stands_for_exactly_what_the_token_says() {
    let pattern = "user.{sub}.*";
    assert!(fits(pattern, "user.ann.inbox", "ann"));
    assert!(fits(pattern, "user.ann.a.b", "ann"));
    assert!(!fits(pattern, "user.anna.inbox", "ann"));
    assert!(!fits(pattern, "user.Ann.inbox", "ann"));
    assert!(!fits(pattern, "user.ann", "ann"));
    assert!(covers(pattern, "user.anna.inbox") && !covers(pattern, "user..inbox"));
    assert!(fits("room-{sub}!", "room-7!", "7") && !fits("room-{sub}!", "room-7", "7"));
    let both = Claims::from_iter([("team", "red"), ("sub", "ann")]);
    let pattern = Pattern::parse("{team}.{sub}").unwrap();
    assert!(pattern.fits("red.ann", &both) && !pattern.fits("ann.red", &both));
    assert!(!pattern.fits("red.ann", &Claims::default()));
    assert_eq!(pattern.claims().collect::<Vec<_>>(), ["team", "sub"]);
}

#[test]
fn no_value_acts_as_a_pattern_or_reaches_over_a_dot() {
    let long = "x".repeat(255);
    for value in [
        "*", "**", ".", "a.b", "*.*", "{sub}", "", "%2f", "a/b", "..", "?", &long, "e\u{301}",
    ] {
        for name in [
            "user.ann.inbox",
            "user..inbox",
            "user.a.b.inbox",
            "user.a.b",
            "user.{sub",
            "user.é.x",
        ] {
            assert!(!fits("user.{sub}.*", name, value), "{name} {value}");
        }
        // It fits itself alone, if it is one segment.
        let own = format!("user.{value}.x");
        let one = !value.is_empty() && !value.contains('.');
        assert_eq!(fits("user.{sub}.*", &own, value), one, "{value}");
    }
}

#[test]
fn a_pattern_without_a_clear_meaning_is_refused() {
    let long = "x".repeat(256);
    for (pattern, reason) in [
        ("", "covers no channel: a channel name has 1 to 255 bytes"),
        (&*long, "1 to 255 bytes"),
        ("$hub.*", "reserved"),
        ("a b", "no spaces"),
        ("e\u{301}.*", "normalisation form C"),
        ("a.**", "** has no meaning"),
        ("**", "** has no meaning"),
        ("{sub}*", "shares its segment"),
        ("*-{sub}", "shares its segment"),
        ("{sub}{team}", "shares its segment"),
        ("{sub}-{team}.*", "shares its segment"),
        ("{sub", "between two braces"),
        ("sub}", "between two braces"),
        ("a}{sub}", "between two braces"),
        ("{sub}}", "between two braces"),
        ("{su.b}", "between two braces"),
        ("{}", "names no claim"),
        ("{a:b}", "names no claim"),
        ("{{sub}", "names no claim"),
    ] {
        let error = Pattern::parse(pattern).expect_err(pattern);
        assert!(error.contains(reason), "{error}");
        assert!(
            error.starts_with(&format!("the pattern {pattern:?}: ")),
            "{error}"
        );
    }
    let claim = |length| format!("{{{}}}", "c".repeat(length));
    assert!(Pattern::parse(&claim(64)).is_ok() && Pattern::parse(&claim(65)).is_err());
    assert!(Pattern::without_claims("user.*").is_ok());
    let error = Pattern::without_claims("user.{sub}").unwrap_err();
    assert!(error.contains("write the value here"), "{error}");
}

#[test]
fn the_worst_name_for_a_pattern_of_many_stars_is_quick() {
    // An implementation that takes its choices back would need longer than anybody can wait.
    let (pattern, name) = ("a*".repeat(126) + "b", "a".repeat(255));
    assert!(!covers(&pattern, &name));
    let (pattern, name) = ("*a".repeat(120) + "*", "a".repeat(255));
    assert!(covers(&pattern, &name));
}

#[test]
fn both_implementations_agree_on_random_patterns_and_names() {
    let (mut covered, mut fitting, mut apart, mut cases) = (0, 0, 0, 0);
    for mut random in Random::all() {
        let seed = random.seed();
        let text = random.text(&PATTERN_PARTS, 6);
        let Ok(pattern) = Pattern::parse(&text) else {
            continue;
        };
        let said = random.claims();
        let claims = claims_of(&said);
        let name = random.name_for(&text, &said);
        let (covers, fits) = (pattern.covers(&name), pattern.fits(&name, &claims));
        let place = format!("seed {seed}: {text:?} {name:?} {said:?}");
        assert_eq!(covers, naive::holds(&text, &name, None), "covers, {place}");
        assert_eq!(
            fits,
            naive::holds(&text, &name, Some(&said)),
            "fits, {place}"
        );
        cases += 1;
        covered += u64::from(covers);
        fitting += u64::from(fits);
        apart += u64::from(!covers);
    }
    // Inputs of one kind alone would prove little.
    for count in [covered, fitting, apart, covered - fitting] {
        assert!(
            count >= cases / 100,
            "{covered} {fitting} {apart} of {cases}"
        );
    }
}
