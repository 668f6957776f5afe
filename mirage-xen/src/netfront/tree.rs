//! What a device reads and writes in xenstore.

use core::iter;

use heapless::{String, Vec};

use super::DIRECTORY_LENGTH;
use super::headers::{ETHERNET_HEADER, VLAN_TAG};
use super::keys::{BACKEND_KEYS, MAXIMUM_PATH, QueueNumber, Value};
use crate::abi::{PAGE_SIZE, XenError};
use crate::hypervisor::Hypervisor;
use crate::sort::sort_few;
use crate::store::{Request, Store, StoreError, parse_decimal};

/// Where the toolstack makes network devices.
const DEVICES: &str = "device/vif";
/// Bytes of a value that is read, but for a path: a number has 20 at most, a MAC address 17.
const VALUE: usize = 24;
/// The most keys that are read together.
pub(super) const KEYS: usize = BACKEND_KEYS.len();
/// Bytes of the longest `device/vif/N/queue-N`.
const QUEUE_DIRECTORY_LENGTH: usize = DIRECTORY_LENGTH + "/queue-".len() + 5;

/// The numbers of the network devices that the toolstack made for this domain, the least first: at most `N`, further ones are left
/// out.
///
/// # Errors
///
/// The store's.
pub async fn discover<H: Hypervisor, const N: usize>(
    store: &Store<H>,
) -> Result<Vec<u32, N>, StoreError> {
    let mut buffer = [0; 512];
    let mut numbers = Vec::new();
    match store.directory(DEVICES, &mut buffer).await {
        Ok(names) => {
            let devices = names
                .filter_map(|name| parse_decimal(name.as_bytes()))
                .filter_map(|number| u32::try_from(number).ok());
            numbers.extend(devices.take(N));
        }
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error),
    }
    sort_few(&mut numbers, |number| *number);
    Ok(numbers)
}

/// The directory of a queue's keys: the device's own, where that has one queue without a number.
pub(super) fn queue_directory(
    device: &str,
    queue: Option<QueueNumber>,
) -> String<QUEUE_DIRECTORY_LENGTH> {
    let mut directory = String::new();
    // There is room for both.
    let _ = match queue {
        None => directory.push_str(device).map_err(|_| core::fmt::Error),
        Some(queue) => {
            core::fmt::Write::write_fmt(&mut directory, format_args!("{device}/{queue}"))
        }
    };
    directory
}

/// Whether half of so many pages hold a frame of this MTU.
pub(super) fn fits(mtu: u16, pages: usize) -> bool {
    (usize::from(mtu) + ETHERNET_HEADER + VLAN_TAG).div_ceil(PAGE_SIZE) <= pages / 2
}

/// Room for what is read together.
pub(super) struct Room {
    /// Of the first value, which may be a path.
    first: [u8; MAXIMUM_PATH],
    others: [[u8; VALUE]; KEYS - 1],
}

impl Room {
    pub(super) const fn new() -> Self {
        Self {
            first: [0; MAXIMUM_PATH],
            others: [[0; VALUE]; KEYS - 1],
        }
    }

    /// Requests for values of a directory's keys, [`KEYS`] at most.
    pub(super) fn reads<'k, 'b>(
        &'b mut self,
        directory: &'k str,
        keys: &[&'k str],
    ) -> Vec<Request<'k, 'b>, KEYS> {
        let others = self.others.iter_mut().map(|room| &mut room[..]);
        let rooms = iter::once(&mut self.first[..]).chain(others);
        let keys = keys.iter().zip(rooms);
        keys.map(|(key, room)| Request::read((directory, *key), room))
            .collect()
    }
}

/// What the requests have read. A value that is too long for its room is none that we take: it is empty then.
pub(super) fn values<'r>(requests: &'r [Request<'_, '_>]) -> Result<[Value<'r>; KEYS], StoreError> {
    let mut values = [None; KEYS];
    for (value, request) in values.iter_mut().zip(requests) {
        *value = match request.result() {
            Ok(read) => Some(read),
            Err(error) if is_missing(error) => None,
            Err(StoreError::ReplyTooLong { .. }) => Some(b""),
            Err(error) => return Err(error),
        };
    }
    Ok(values)
}

/// Whether there is no such key. Of one whose parents are gone, too, xenstored doesn't say that much: the domain has no right to
/// know.
pub(super) fn is_missing(error: StoreError) -> bool {
    error.is_not_found() || error == StoreError::Refused(XenError::AccessDenied)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_only_queue_has_its_keys_among_the_devices() {
        assert_eq!(queue_directory("device/vif/7", None), "device/vif/7");
        let longest = queue_directory("device/vif/4294967295", Some(QueueNumber(u16::MAX)));
        assert_eq!(longest, "device/vif/4294967295/queue-65535");
    }

    #[test]
    fn a_frame_of_the_mtu_fits_into_half_of_the_receive_reserve() {
        assert!(fits(1_500, 2) && fits(4_078, 2));
        assert!(!fits(4_079, 2) && fits(4_079, 4));
        assert!(!fits(65_517, 31) && fits(65_517, 32));
    }
}
