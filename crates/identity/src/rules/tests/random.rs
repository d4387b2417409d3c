//! Decisions on random rules against a second implementation, which reads the module's table from the lists as they are
//! written and compares names by `naive`.

use super::*;
use crate::random::{PATTERN_PARTS, Random, Said, claims_of, naive};

const WORDS: [(&str, Action); 4] = [
    ("subscribe", Action::Subscribe),
    ("publish", Action::Publish),
    ("history", Action::History),
    ("presence", Action::Presence),
];

/// Somebody, by texts.
enum Somebody {
    Anonymous,
    Token(Said, Option<(String, Vec<String>)>),
    Key(String, Vec<String>),
}

impl Somebody {
    fn random(random: &mut Random, said: &Said) -> Self {
        let text = random.text(&["a", "b", ".", "*"], 3);
        let pattern = Pattern::parse(&text).map_or("*".to_owned(), |_| text);
        let words = words(random);
        match random.below(4) {
            0 => Self::Anonymous,
            1 => Self::Token(said.clone(), None),
            2 => Self::Token(said.clone(), Some((pattern, words))),
            _ => Self::Key(pattern, [words, vec!["history".to_owned()]].concat()),
        }
    }

    fn subject(&self) -> Subject {
        match self {
            Self::Anonymous => Subject::Anonymous,
            Self::Token(said, permission) => Subject::Token {
                claims: claims_of(said),
                permissions: permission.as_ref().map(|(pattern, words)| {
                    let allow = Actions::parse(words).unwrap();
                    Box::from([Permission::new(allow, std::slice::from_ref(pattern)).unwrap()])
                }),
            },
            Self::Key(pattern, words) => {
                let grant = KeyGrant::parse("k", words, Some(std::slice::from_ref(pattern)));
                Subject::Key(Arc::new(grant.unwrap()))
            }
        }
    }
}

/// Returns some of the words for actions.
fn words(random: &mut Random) -> Vec<String> {
    let some = WORDS.into_iter().filter(|_| random.below(5) < 2);
    some.map(|(word, _)| word.to_owned()).collect()
}

fn rule(random: &mut Random) -> RuleConfig {
    let (token, anonymous) = (words(random), words(random));
    let pattern = random.text(&PATTERN_PARTS, 4);
    let endpoint = ["subscribe", "publish"].into_iter().filter(|word| {
        let free = [&token, &anonymous]
            .iter()
            .all(|it| !it.contains(&(*word).to_owned()));
        free && random.below(3) > 0
    });
    let endpoint = endpoint.map(str::to_owned).collect();
    let allow = AllowConfig {
        token,
        anonymous,
        other_token: if pattern.contains('{') && random.below(3) == 0 {
            vec!["history".to_owned()]
        } else {
            Vec::new()
        },
        key: (random.below(2) == 0).then(|| words(random)),
    };
    RuleConfig {
        allow: (random.below(4) > 0).then_some(allow),
        pattern,
        endpoint,
        message_bytes: Some(1 + random.below(1_000_000)),
        ..RuleConfig::default()
    }
}

/// The module's table.
fn naive_answer(configs: &[RuleConfig], who: &Somebody, word: &str, channel: &str) -> Answer {
    let answer = |allowed| {
        if allowed {
            Answer::Allow
        } else {
            Answer::Refuse
        }
    };
    let has = |list: &Vec<String>| list.iter().any(|it| it == word);
    let rule = configs
        .iter()
        .find(|it| naive::holds(&it.pattern, channel, None));
    let speaks = |rule: &RuleConfig| rule.allow.is_some() || !rule.endpoint.is_empty();
    let spoken = rule.filter(|rule| speaks(rule));
    let allow = spoken.map(|rule| rule.allow.clone().unwrap_or_default());
    let uncovered = rule.is_none() && configs.iter().any(speaks);
    let asked = spoken.is_some_and(|rule| has(&rule.endpoint));
    match who {
        Somebody::Key(pattern, words) => {
            let own = has(words) && naive::holds(pattern, channel, None);
            let list = allow.and_then(|allow| allow.key);
            answer(own && list.is_none_or(|list| has(&list)))
        }
        _ if uncovered => Answer::Refuse,
        Somebody::Anonymous if asked => Answer::Ask,
        Somebody::Anonymous => answer(allow.is_some_and(|allow| has(&allow.anonymous))),
        Somebody::Token(said, permission) => {
            let own = permission
                .as_ref()
                .map(|(pattern, words)| has(words) && naive::holds(pattern, channel, None));
            let Some((allow, rule)) = allow.zip(spoken) else {
                return answer(own == Some(true));
            };
            if own == Some(false) {
                Answer::Refuse
            } else if !naive::holds(&rule.pattern, channel, Some(said)) {
                answer(has(&allow.other_token))
            } else if asked {
                Answer::Ask
            } else {
                answer(has(&allow.token))
            }
        }
    }
}

#[test]
fn both_implementations_agree_on_random_rules() {
    let (mut answers, mut cases) = ([0; 3], 0);
    for mut random in Random::all() {
        let seed = random.seed();
        let configs: Vec<_> = (0..random.below(5)).map(|_| rule(&mut random)).collect();
        let Ok(rules) = Rules::new(&configs, WithoutRules::Anonymous(Actions::NONE)) else {
            continue;
        };
        let said = random.claims();
        let who = Somebody::random(&mut random, &said);
        let pattern = configs.first().map_or("*", |it| &it.pattern);
        let channel = random.name_for(pattern, &said);
        let (word, action) = random.pick(&WORDS);
        let decision = rules.decide(&who.subject(), action, &channel);
        let place = format!(
            "seed {seed}: {configs:#?} {:#?} {word} {channel:?}",
            who.subject()
        );
        assert_eq!(
            decision.answer(),
            naive_answer(&configs, &who, word, &channel),
            "{place}"
        );
        let rule = configs
            .iter()
            .position(|it| naive::holds(&it.pattern, &channel, None));
        assert_eq!(decision.rule, rule.map(|index| index + 1), "{place}");
        let bytes = rule.and_then(|index| configs[index].message_bytes);
        assert_eq!(rules.limits(&channel).message_bytes, bytes, "{place}");
        let somewhere = rules.allows_somewhere(&who.subject(), action);
        assert!(somewhere || decision.answer() == Answer::Refuse, "{place}");
        answers[decision.answer() as usize] += 1;
        cases += 1;
    }
    assert!(
        answers.iter().all(|count| *count >= cases / 200),
        "{answers:?} of {cases}"
    );
}

#[test]
fn a_rule_that_is_refused_as_never_reached_never_would_be() {
    let (mut hidden, mut covered) = (0, 0);
    for mut random in Random::all() {
        let parse = |text: String| {
            Some((
                RuleConfig {
                    pattern: text.clone(),
                    ..RuleConfig::default()
                }
                .check()
                .ok()?,
                text,
            ))
        };
        let two = [3, 4].map(|most| parse(random.text(&PATTERN_PARTS, most)));
        let [Some((earlier, earlier_text)), Some((later, later_text))] = two else {
            continue;
        };
        if !earlier.hides(&later) {
            continue;
        }
        hidden += 1;
        for _ in 0..5 {
            let said = random.claims();
            let name = random.name_for(&later_text, &said);
            if naive::holds(&later_text, &name, None) {
                covered += 1;
                let both = naive::holds(&earlier_text, &name, None);
                assert!(
                    both,
                    "seed {}: {earlier_text:?} {later_text:?} {name:?}",
                    random.seed()
                );
            }
        }
    }
    assert!(hidden > 0 && covered >= hidden, "{hidden} {covered}");
}
