//! The suite on a user's broker, with nothing but its address. What is made there is removed again, and what can't be
//! removed is named with the command that does it.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use hubplane_backplane::{Address, Driver, Error, ErrorKind, Leaving, OnRestart, Result, Spaces};
use tokio::time::timeout;

use crate::{Control, Harness, Refused, not_tried};

/// How long one call of [`Spaces`] may take: filling a log takes its time.
const ASK: Duration = Duration::from_secs(60);

/// How the name of the space begins that is opened first.
const CHECK: &str = "conformance-";

/// A [`Harness`] for any backend that implements [`Spaces`]. What can't be done on this broker is
/// [`Outcome::NotTried`](crate::Outcome::NotTried).
pub struct Site {
    backend: &'static dyn Spaces,
    address: Address,
    /// See [`Site::in_place`].
    in_place: bool,
    /// How the broker is stopped; `None` if the user does not allow it.
    disturb: Option<Control>,
    /// The names of the spaces that were opened and are not removed yet.
    used: Mutex<BTreeSet<String>>,
}

/// The address hides its secrets.
impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Site({})", self.address)
    }
}

/// Something that the suite has made and could not remove, and why.
#[derive(Debug)]
pub struct Left {
    /// What it is, and how to remove it.
    pub leaving: Leaving,
    /// Why it is still there.
    pub error: Error,
}

impl Site {
    /// The cases get spaces of their own within this address.
    pub fn new(backend: &'static dyn Spaces, address: Address) -> Self {
        Self {
            backend,
            address,
            in_place: false,
            disturb: None,
            used: Mutex::default(),
        }
    }

    /// The cases use the address itself, one after the other. Nobody else may publish there meanwhile, and nothing is
    /// removed.
    #[must_use]
    pub const fn in_place(mut self) -> Self {
        self.in_place = true;
        self
    }

    /// The broker may be stopped and killed, by this control.
    #[must_use]
    pub fn disturbed_by(mut self, control: Control) -> Self {
        self.disturb = Some(control);
        self
    }

    /// The address that the site was made for.
    pub const fn own_address(&self) -> &Address {
        &self.address
    }

    /// The backend that is tried.
    pub fn own_driver(&self) -> &'static dyn Driver {
        self.backend
    }

    /// Names of spaces that must be removed; locked for a moment only.
    fn used(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The address of a space, which in place is the given one.
    fn place(&self, space: &str) -> Address {
        match self.in_place {
            true => self.address.clone(),
            false => self.backend.within(&self.address, space),
        }
    }

    /// Opens and closes one instance in a new space, so that an error that every case would meet is told once.
    ///
    /// # Errors
    /// Those of `Driver::open`, and `Unavailable` if the system gives no random numbers.
    pub async fn check(&self) -> Result<()> {
        let random = getrandom::u32().map_err(|error| {
            let message = "the system gives no random numbers, for the name of a new space";
            Error::new(ErrorKind::Unavailable, "conformance", message).with_source(error)
        })?;
        let space = format!("{CHECK}{random:x}");
        let address = self.place(&space);
        // Noted before it is opened: even a failed `open` may have made something.
        if !self.in_place {
            self.used().insert(space);
        }
        let opened = self.backend.open(&address).await?;
        opened.backplane.close().await;
        Ok(())
    }

    /// Returns true if an error of [`check`](Self::check) names the new space: the user may lack the right to make one,
    /// and the address itself may still work.
    pub fn is_of_space(&self, error: &Error) -> bool {
        !self.in_place && error.to_string().contains(CHECK)
    }

    /// Removes what the cases have made on the broker since the last call. Returns what could not be removed.
    pub async fn tidy(&self) -> Vec<Left> {
        // Taken out, so that nothing is removed twice.
        let used = std::mem::take(&mut *self.used());
        let mut left = Vec::new();
        // In place, the space is the user's own.
        for name in used.iter().filter(|_| !self.in_place) {
            left.extend(self.remove(&self.place(name)).await);
        }
        left
    }

    /// Removes one space. Returns what is still there if that failed.
    async fn remove(&self, address: &Address) -> Vec<Left> {
        let removed = timeout(ASK, self.backend.remove(address)).await;
        let late = |_elapsed| Err(self.late());
        let Err(error) = removed.unwrap_or_else(late) else {
            return Vec::new();
        };
        // An error can't be copied, and each thing that stays gets one.
        let (kind, backend, text) = (error.kind(), error.backend(), error.to_string());
        let because = |leaving| Left {
            leaving,
            error: Error::new(kind, backend, text.clone()),
        };
        let leavings = self.backend.leaves(address);
        leavings.into_iter().map(because).collect()
    }

    /// The error of a broker that does not answer.
    fn late(&self) -> Error {
        let message = format!("the broker did not answer within {ASK:?}");
        Error::new(ErrorKind::Unavailable, self.backend.schemes()[0], message)
    }

    /// Waits for an answer about a space. An error ends the case as not tried: the user may lack a right that a hub does
    /// not need.
    async fn allowed(&self, asking: impl Future<Output = Result<()>>) {
        let asked = timeout(ASK, asking).await;
        if let Err(error) = asked.unwrap_or_else(|_elapsed| Err(self.late())) {
            not_tried(error);
        }
    }
}

#[async_trait]
impl Harness for Site {
    fn driver(&self) -> &'static dyn Driver {
        self.backend
    }

    fn address(&self, space: &str) -> Address {
        // In place all spaces are one, so a case that needs two would hear itself.
        let others = |used: &BTreeSet<String>| used.iter().any(|name| name != space);
        if self.in_place && others(&self.used()) {
            not_tried("it takes two spaces, and in place there is one");
        }
        self.used().insert(space.to_owned());
        self.place(space)
    }

    fn control(&self) -> Option<Control> {
        // Also without `--disturb`: the reason is another one.
        if self.backend.capabilities().on_restart == OnRestart::NoBroker {
            not_tried("there is no broker apart from this process");
        }
        match &self.disturb {
            Some(control) => Some(control.clone()),
            None => not_tried("needs --disturb"),
        }
    }

    /// Wrong passwords are tried in the tests alone: a managed broker may lock the user out.
    fn refused(&self) -> Vec<Refused> {
        let scheme = self.address.scheme();
        vec![Refused {
            what: "an unknown key",
            address: format!("{scheme}://127.0.0.1:1?no-such-key=1"),
        }]
    }

    fn absent(&self) -> Option<Address> {
        // Port 1 is below the range that anything listens on.
        let broker = self.backend.capabilities().on_restart != OnRestart::NoBroker;
        broker.then(|| self.address.clone().at("127.0.0.1", Some(1)))
    }

    async fn publish_outside(&self, space: &str, channel: &str, data: &[u8]) {
        let address = self.address(space);
        let publishing = self.backend.publish_outside(&address, channel, data);
        self.allowed(publishing).await;
    }

    async fn trim(&self, space: &str) {
        if self.in_place {
            not_tried("it would cut the address's own log");
        }
        let address = self.address(space);
        self.allowed(self.backend.trim(&address)).await;
    }
}
