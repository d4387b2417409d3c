//! Random patterns, names and claims for tests, and a second implementation of patterns to compare the first one with.

use std::{collections::BTreeMap, env};

use crate::pattern::Claims;

pub(super) mod naive;

/// What a token says, by the claims' names.
pub(super) type Said = BTreeMap<String, String>;

/// Returns the claims as a decision takes them.
pub(super) fn claims_of(said: &Said) -> Claims {
    said.iter()
        .map(|(name, value)| (&**name, &**value))
        .collect()
}

/// The texts that random patterns and names are put together from; few, so that many pairs nearly match.
pub(super) const PATTERN_PARTS: [&str; 13] = [
    "a", "b", ".", "*", ".*", "*.", "*a", "{sub}", "{t}", "%2f", "é", "..", "aa",
];
const NAME_PARTS: [&str; 12] = [
    "a", "b", ".", "*", "..", "%2f", "é", "e\u{301}", "{sub}", "aa", "/", "",
];

/// A generator that repeats itself for each seed (SplitMix64).
pub(super) struct Random {
    seed: u64,
    state: u64,
}

impl Random {
    /// Returns generators for as many cases as `HUBPLANE_RANDOM_CASES` says, from the seed `HUBPLANE_RANDOM_SEED` on.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let number = |name: &str, default: u64| {
            env::var(name).map_or(default, |text| text.parse().expect("a number"))
        };
        let first = number("HUBPLANE_RANDOM_SEED", 1);
        let seeds = first..first + number("HUBPLANE_RANDOM_CASES", 10_000);
        seeds.map(|seed| Self { seed, state: seed })
    }

    /// Returns the seed, for a failing test's message.
    pub(super) fn seed(&self) -> u64 {
        self.seed
    }

    /// Returns one of them.
    pub(super) fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    /// Returns a number below `end`.
    pub(super) fn below(&mut self, end: usize) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % end as u64) as usize
    }

    /// Returns up to `most` of the parts in a row.
    pub(super) fn text(&mut self, parts: &[&str], most: usize) -> String {
        let mut text: String = (0..self.below(most + 1))
            .map(|_| self.pick(parts))
            .collect();
        // Once in a while one of the longest names, of a single sign.
        if self.below(500) == 0 {
            text = parts[self.below(2)].repeat(255);
        }
        text
    }

    /// Returns what a token says of `sub` and `t`, or of one of them, or of none.
    pub(super) fn claims(&mut self) -> Said {
        let mut said = Said::new();
        for name in ["sub", "t"] {
            if self.below(4) > 0 {
                said.insert(name.to_owned(), self.text(&NAME_PARTS, 2));
            }
        }
        said
    }

    /// Returns a name that the pattern is likely to cover; each third one may be any.
    pub(super) fn name_for(&mut self, pattern: &str, said: &Said) -> String {
        if self.below(3) == 0 {
            return self.text(&NAME_PARTS, 6);
        }
        let mut name = pattern.to_owned();
        for claim in ["sub", "t"] {
            let other = self.text(&NAME_PARTS, 1);
            let value = said.get(claim).filter(|_| self.below(4) > 0);
            name = name.replace(&format!("{{{claim}}}"), value.unwrap_or(&other));
        }
        let parts: Vec<_> = name.split('*').map(str::to_owned).collect();
        let mut name = String::new();
        for part in parts {
            name += &part;
            if self.below(2) > 0 {
                name += &self.text(&NAME_PARTS, 2);
            }
        }
        name
    }
}
