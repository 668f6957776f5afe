//! What a device reads and writes in xenstore.

use heapless::{String, Vec};

use super::DIRECTORY_LENGTH;
use super::headers::{ETHERNET_HEADER, VLAN_TAG};
use super::keys::{Backend, QueueNumber, STATUS_KEYS, Value};
use crate::abi::{PAGE_SIZE, XenError};
use crate::hypervisor::Hypervisor;
use crate::store::{Store, StoreError, Transaction, Watch, join, parse_decimal};

/// Where the toolstack makes network devices.
const DEVICES: &str = "device/vif";
/// Bytes of a value that is read: a number has 20 at most, a MAC address 17.
pub(super) const VALUE: usize = 24;
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
    numbers.sort_unstable();
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

/// Sets a watch, if it is wanted.
pub(super) async fn watch<H: Hypervisor>(
    store: &'static Store<H>,
    key: (&str, &str),
    wanted: bool,
) -> Result<Option<Watch<'static, H>>, StoreError> {
    if wanted {
        store.watch(key).await.map(Some)
    } else {
        Ok(None)
    }
}

/// Sets the watches of a backend, if they are wanted.
pub(super) async fn watch_backend<H: Hypervisor>(
    store: &'static Store<H>,
    backend: &str,
    wanted: bool,
) -> Result<Option<[Watch<'static, H>; 2]>, StoreError> {
    let [state_key, carrier_key, _] = STATUS_KEYS;
    let keys = [state_key, carrier_key];
    let [state, carrier] = join(keys.map(|key| watch(store, (backend, key), wanted))).await;
    Ok(match (state?, carrier?) {
        (Some(state), Some(carrier)) => Some([state, carrier]),
        _ => None,
    })
}

/// A key's value. One that is too long for the buffer is none that we take: it is empty then.
pub(super) async fn read<'b, H: Hypervisor>(
    store: &'b Store<H>,
    directory: &'b str,
    key: &'b str,
    buffer: &'b mut [u8],
) -> Result<Value<'b>, StoreError> {
    match store.read((directory, key), buffer).await {
        Ok(value) => Ok(Some(value)),
        Err(error) if is_missing(error) => Ok(None),
        Err(StoreError::ReplyTooLong { .. }) => Ok(Some(b"")),
        Err(error) => Err(error),
    }
}

/// Whether there is no such key. Of one whose parents are gone, too, xenstored doesn't say that much: the domain has no right to
/// know.
pub(super) fn is_missing(error: StoreError) -> bool {
    error.is_not_found() || error == StoreError::Refused(XenError::AccessDenied)
}

pub(super) async fn read_if<'b, H: Hypervisor>(
    wanted: bool,
    store: &'b Store<H>,
    directory: &'b str,
    key: &'b str,
    buffer: &'b mut [u8],
) -> Result<Value<'b>, StoreError> {
    if wanted {
        read(store, directory, key, buffer).await
    } else {
        Ok(None)
    }
}

/// How a backend is. `None`: what it says makes no sense.
pub(super) async fn read_status<H: Hypervisor>(
    store: &Store<H>,
    backend: &str,
) -> Result<Option<Backend>, StoreError> {
    let mut values = [[0; VALUE]; STATUS_KEYS.len()];
    let [state, carrier, online] = &mut values;
    let [state_key, carrier_key, online_key] = STATUS_KEYS;
    let [state, carrier, online] = join([
        read(store, backend, state_key, state),
        read(store, backend, carrier_key, carrier),
        read(store, backend, online_key, online),
    ])
    .await;
    Ok(Backend::parse([state?, carrier?, online?]))
}

/// Writes a number, if there is one.
pub(super) async fn write<H: Hypervisor>(
    transaction: &Transaction<'_, H>,
    (directory, key, value): (&str, &str, Option<u64>),
) -> Result<(), StoreError> {
    match value {
        Some(value) => transaction.write_decimal((directory, key), value).await,
        None => Ok(()),
    }
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
