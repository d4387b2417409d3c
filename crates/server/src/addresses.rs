//! Connections by address: how many of each there are now. An entry goes with its last connection,
//! so the table is never larger than the number of connections.
//!
//! IPv6 is counted by /64: whoever has one address of such a network has all of them (RFC 6177).

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

/// What counts as one address: an IPv4 address, or the first 64 bits of an IPv6 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Address {
    V4(u32),
    V6(u64),
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        // A socket for both families shows IPv4 as `::ffff:a.b.c.d`.
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) => Self::V6((address.to_bits() >> 64) as u64),
        }
    }
}

/// The table.
#[derive(Debug, Default)]
pub(crate) struct Addresses(Mutex<HashMap<Address, usize>>);

/// One connection's place in the table, which it leaves when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    addresses: Arc<Addresses>,
    address: Address,
}

impl Addresses {
    /// Counts one more connection of an address; `None` if it has `most` already.
    pub(crate) fn enter(self: &Arc<Self>, address: Address, most: usize) -> Option<Place> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = all.entry(address).or_default();
        // `most` is 1 or more, so a new entry never stays at zero.
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Place {
            addresses: Arc::clone(self),
            address,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let all = self.addresses.0.lock();
        let mut all = all.unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = all.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.address);
            }
        }
        // After a flood the table gives its memory back.
        if all.capacity() > 1_024 && all.len() < all.capacity() / 8 {
            all.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn each_address_has_its_number_and_no_entry_outlives_it() {
        let all = Arc::new(Addresses::default());
        let a = address("192.0.2.1");
        let mut places: Vec<_> = (0..5).filter_map(|_| all.enter(a, 3)).collect();
        assert_eq!(places.len(), 3);
        assert!(all.enter(address("192.0.2.2"), 3).is_some());
        places.pop();
        places.extend(all.enter(a, 3));
        assert_eq!(places.len(), 3);
        assert!(all.enter(a, 3).is_none());
        drop(places);
        assert!(all.0.lock().unwrap().is_empty());
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let one = address("2001:db8:0:1::1");
        assert_eq!(one, address("2001:db8:0:1:ffff:ffff:ffff:ffff"));
        assert_ne!(one, address("2001:db8:0:2::1"));
        assert_eq!(address("::ffff:192.0.2.1"), address("192.0.2.1"));
        assert_ne!(address("::ffff:192.0.2.1"), address("::ffff:192.0.2.2"));
    }
}
