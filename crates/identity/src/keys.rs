//! Named keys of programs: where each one is, what it allows, and how it is changed while the hub runs.
//!
//! What must hold: of a key only its SHA-256 digest is kept; a text is compared with all keys in constant time, so the
//! time of an answer tells nothing about any of them; and no key is in an error, a log or `Debug`. Reading files blocks
//! and is left to whoever calls [`Keys::reload`]: this file knows no task.

mod config;
mod grant;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    path::Path,
    sync::{Arc, PoisonError, RwLock},
};

use sha2::{Digest as _, Sha256};
use subtle::{ConditionallySelectable, ConstantTimeEq};

pub use self::{config::KeyConfig, grant::KeyGrant};
use crate::reference::Reference;

/// The shortest key in bytes. `openssl rand -hex 32` makes one of 64.
pub const MIN_KEY: usize = 32;
/// The most keys in one file: the old one and the new one.
const KEYS_OF_ONE_FILE: usize = 2;
/// The most named keys: each is compared whenever somebody shows one.
const MAX_KEYS: usize = 1_000;

/// A key's SHA-256 digest.
type Digest = [u8; 32];

/// The keys that a hub accepts; by default none. One text may stand for one name only.
pub struct Keys {
    sources: Box<[Source]>,
    /// The digests of each source, in their order. They are replaced as a whole.
    digests: RwLock<Arc<[Box<[Digest]>]>>,
}

/// One name's key.
struct Source {
    grant: Arc<KeyGrant>,
    /// `None` for a key that a program has given as it is.
    place: Option<Reference>,
}

/// What [`Keys::reload`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// The names of the keys that are others now.
    pub changed: Vec<String>,
    /// A sentence for each key that could not be read; it stays as it was.
    pub errors: Vec<String>,
}

impl Keys {
    /// Reads all keys of a configuration.
    ///
    /// # Errors
    /// A sentence that names the key by its number, from 1, or its name: it can't be read or is shorter than [`MIN_KEY`]
    /// bytes, two have the same name or the same text, or what it allows makes no sense.
    pub fn new(configs: &[KeyConfig]) -> Result<Self, String> {
        if configs.len() > MAX_KEYS {
            return Err(format!("{} keys; there may be {MAX_KEYS}", configs.len()));
        }
        let mut sources: Vec<Source> = Vec::new();
        for (index, config) in configs.iter().enumerate() {
            let place = |error| format!("key {}: {error}", index + 1);
            let (grant, reference) = config.check().map_err(place)?;
            if sources.iter().any(|it| it.grant.name() == grant.name()) {
                return Err(place(format!("name: {:?} is there twice", grant.name())));
            }
            sources.push(Source {
                grant: Arc::new(grant),
                place: Some(reference),
            });
        }
        Self::of(sources)
    }

    /// Reads the key of a file that allows everything. The key's name is `key-file`.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn from_file(path: &Path) -> Result<Self, String> {
        Self::of(vec![Source {
            grant: Arc::new(KeyGrant::everything("key-file")),
            place: Some(Reference::File(path.to_owned())),
        }])
    }

    /// Makes one key of a text; it allows everything. Its name is `key`.
    ///
    /// # Errors
    /// A sentence: it is shorter than [`MIN_KEY`] bytes, or no ASCII text.
    pub fn from_text(key: &str) -> Result<Self, String> {
        let source = Source {
            grant: Arc::new(KeyGrant::everything("key")),
            place: None,
        };
        Ok(Self {
            sources: Box::new([source]),
            digests: RwLock::new(Arc::new([keys_of(key)?])),
        })
    }

    fn of(sources: Vec<Source>) -> Result<Self, String> {
        let mut digests: Vec<Box<[Digest]>> = vec![Box::default(); sources.len()];
        for index in 0..sources.len() {
            digests[index] = read(&sources, index, &digests)?;
        }
        Ok(Self {
            sources: sources.into(),
            digests: RwLock::new(digests.into()),
        })
    }

    /// Returns true if there is no key.
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// Returns what the key allows that somebody shows, or `None` if it is no key of this hub.
    pub fn find(&self, shown: &str) -> Option<Arc<KeyGrant>> {
        let shown: Digest = Sha256::digest(shown.as_bytes()).into();
        let mut found = u32::MAX;
        for (source, digests) in (0..).zip(self.digests().iter()) {
            for digest in digests {
                found.conditional_assign(&source, digest.ct_eq(&shown));
            }
        }
        let source = self.sources.get(usize::try_from(found).ok()?)?;
        Some(Arc::clone(&source.grant))
    }

    /// Reads the files anew and takes what changed. A key whose file is gone, broken or holds another name's key stays as
    /// it was. It reads all files, a few lines each, and blocks on them: call it every few seconds from one task that may
    /// block. Keys from the environment never change, and neither do those from a pipe, which has been read.
    pub fn reload(&self) -> Reloaded {
        let mut digests = self.digests().to_vec();
        let mut reloaded = Reloaded::default();
        for (index, source) in self.sources.iter().enumerate() {
            if !source.place.as_ref().is_some_and(Reference::can_change) {
                continue;
            }
            match read(&self.sources, index, &digests) {
                Ok(read) if read == digests[index] => {}
                Ok(read) => {
                    digests[index] = read;
                    reloaded.changed.push(source.grant.name().to_owned());
                }
                Err(error) => reloaded.errors.push(error),
            }
        }
        if !reloaded.changed.is_empty() {
            *self.digests.write().unwrap_or_else(PoisonError::into_inner) = digests.into();
        }
        reloaded
    }

    fn digests(&self) -> Arc<[Box<[Digest]>]> {
        let digests = self.digests.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&digests)
    }
}

impl Default for Keys {
    fn default() -> Self {
        Self::of(Vec::new()).expect("invariant: no key is no wrong key")
    }
}

/// Shows the names alone.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.sources.iter().map(|source| source.grant.name());
        f.debug_list().entries(names).finish()
    }
}

/// Reads one source's keys and checks that no other source has one of them.
fn read(
    sources: &[Source],
    index: usize,
    digests: &[Box<[Digest]>],
) -> Result<Box<[Digest]>, String> {
    let Source { grant, place } = &sources[index];
    let Some(place) = place else {
        return Err(format!(
            "key {:?} has no place to be read from",
            grant.name()
        ));
    };
    let wrong = |reason: &str| format!("key {:?}: {place}: {reason}", grant.name());
    let text = place
        .read()
        .map_err(|error| format!("key {:?}: {error}", grant.name()))?;
    let read = keys_of(text.reveal()).map_err(|reason| wrong(&reason))?;
    for (other, theirs) in sources.iter().zip(digests) {
        let same = theirs.iter().any(|digest| read.contains(digest));
        if same && other.grant.name() != grant.name() {
            let name = other.grant.name();
            return Err(wrong(&format!("it holds the key of {name:?}, too")));
        }
    }
    Ok(read)
}

/// Returns the digests of the keys in a file's text: one key a line.
fn keys_of(text: &str) -> Result<Box<[Digest]>, String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let keys: Vec<&str> = lines.collect();
    if keys.len() > KEYS_OF_ONE_FILE {
        return Err(format!(
            "it has {} lines; write one key, or an old and a new one on two lines",
            keys.len()
        ));
    }
    if keys.iter().any(|key| key.len() < MIN_KEY) {
        return Err(format!(
            "a key has at least {MIN_KEY} bytes; `openssl rand -hex 32` makes one"
        ));
    }
    // Other characters don't come through the header Authorization as they are.
    if keys
        .iter()
        .any(|key| key.bytes().any(|it| !matches!(it, b' '..=b'~')))
    {
        return Err("a key is made of ASCII letters, digits and signs".to_owned());
    }
    Ok(keys.iter().map(|key| Sha256::digest(key).into()).collect())
}
