//! What the toolstack wants of the domain: `control/shutdown` in xenstore (docs/misc/xenstore-paths.pandoc).
//!
//! The toolstack writes a command there, and the domain says that it has read it by writing nothing in its place, in
//! a transaction, so that a command that the toolstack takes back at the same time is not both. Then the domain does
//! as it is told, by [`Hypervisor::shutdown`] or a suspension.

#[cfg(test)]
mod tests;

use core::fmt::{self, Write};
use core::ops::Range;

use bitflags::bitflags;
use heapless::String;

use crate::hypervisor::Hypervisor;
use crate::store::{Request, Store, StoreError, Watch};

const SHUTDOWN: &str = "control/shutdown";
/// Bytes of a command that are kept.
const COMMAND_MAX: usize = 32;
/// Attempts at a transaction that something else comes between.
const ATTEMPTS: u32 = 8;

/// In the order of [`ControlFeatures`].
const FEATURE_KEYS: [&str; 4] = [
    "control/feature-poweroff",
    "control/feature-reboot",
    "control/feature-suspend",
    "control/feature-halt",
];

/// A command of the toolstack's.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ShutdownRequest {
    /// `poweroff`: end.
    PowerOff,
    /// `reboot`: end, to be started again.
    Reboot,
    /// `halt`: end.
    Halt,
    /// `suspend`: to be saved or migrated.
    Suspend,
    /// `crash`: end as after a fault.
    Crash,
    /// Another one; its first 32 bytes, if they are text.
    Unknown(String<COMMAND_MAX>),
}

impl ShutdownRequest {
    /// The command in a key's value; none in an empty one.
    fn parse(value: &[u8]) -> Option<Self> {
        Some(match value {
            b"" => return None,
            b"poweroff" => Self::PowerOff,
            b"reboot" => Self::Reboot,
            b"halt" => Self::Halt,
            b"suspend" => Self::Suspend,
            b"crash" => Self::Crash,
            other => {
                let text = other.get(..COMMAND_MAX).unwrap_or(other);
                let text = core::str::from_utf8(text).unwrap_or_default();
                Self::Unknown(String::try_from(text).unwrap_or_default())
            }
        })
    }
}

impl fmt::Display for ShutdownRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PowerOff => f.write_str("poweroff"),
            Self::Reboot => f.write_str("reboot"),
            Self::Halt => f.write_str("halt"),
            Self::Suspend => f.write_str("suspend"),
            Self::Crash => f.write_str("crash"),
            // Whoever wrote it may have meant a terminal.
            Self::Unknown(command) => {
                f.write_char('"')?;
                for character in command.chars() {
                    let plain = character.is_ascii_graphic() || character == ' ';
                    f.write_char(if plain { character } else { '?' })?;
                }
                f.write_char('"')
            }
        }
    }
}

bitflags! {
    /// The commands that the toolstack knows that the domain takes: `control/feature-*`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct ControlFeatures: u8 {
        /// `control/feature-poweroff`.
        const POWEROFF = 1;
        /// `control/feature-reboot`.
        const REBOOT = 2;
        /// `control/feature-suspend`.
        const SUSPEND = 4;
        /// `control/feature-halt`.
        const HALT = 8;
    }
}

/// Hears what the toolstack wants. One for a domain.
pub struct Control<H: Hypervisor> {
    store: &'static Store<H>,
    watch: Watch<'static, H>,
    /// The watch has fired, and the command was not read since.
    to_read: bool,
    /// A command that we were about to acknowledge.
    acknowledging: Option<ShutdownRequest>,
    features: ControlFeatures,
    /// The store's epoch when the features were written.
    epoch: u32,
}

impl<H: Hypervisor> Control<H> {
    /// Watches for commands, and says which the domain takes: all in one round trip.
    ///
    /// # Errors
    ///
    /// The store's. That xenstored does not take a feature is no error: a toolstack need not have made its key.
    pub async fn new(store: &'static Store<H>) -> Result<Self, StoreError> {
        let epoch = store.epoch();
        let watch = store.begin_watch(SHUTDOWN).await?;
        let (features, _) = ask(store, FEATURES).await;
        watch.established().await?;
        Ok(Self {
            store,
            watch,
            to_read: false,
            acknowledging: None,
            features,
            epoch,
        })
    }

    /// The features that xenstored took.
    pub fn features(&self) -> ControlFeatures {
        self.features
    }

    /// Waits for the next command, and acknowledges it. After a resume, says again which commands the domain takes.
    ///
    /// A command that isn't known is acknowledged as the others are: it was read, and there will be nothing more to
    /// it. If the future is dropped, the command is still there for the next call.
    ///
    /// # Errors
    ///
    /// The store's.
    pub async fn next(&mut self) -> Result<ShutdownRequest, StoreError> {
        loop {
            if !self.to_read {
                self.watch.changed().await?;
                self.to_read = true;
            }
            let epoch = self.store.epoch();
            let anew = self.epoch != epoch;
            // A look that costs one round trip, where a transaction costs three.
            let asked = if anew { ALL } else { COMMAND };
            let (features, present) = ask(self.store, asked).await;
            if anew {
                self.features = features;
                self.epoch = epoch;
            }
            let request = match present? {
                Some(_) => self.acknowledge().await?,
                // A call that was given up has acknowledged it.
                None => self.acknowledging.take(),
            };
            self.to_read = false;
            if let Some(request) = request {
                return Ok(request);
            }
        }
    }

    /// Reads the command once more, and takes it, if it is still there.
    async fn acknowledge(&mut self) -> Result<Option<ShutdownRequest>, StoreError> {
        for _ in 0..ATTEMPTS {
            let transaction = self.store.transaction().await?;
            let mut buffer = [0; COMMAND_MAX];
            let mut both = [
                Request::read(SHUTDOWN, &mut buffer),
                Request::write(SHUTDOWN, b""),
            ];
            transaction.carry_out(&mut both).await;
            let [read, written] = &both;
            let request = command(read.result())?;
            if request.is_none() {
                // The transaction isn't committed then.
                self.acknowledging = None;
                return Ok(None);
            }
            written.result()?;
            self.acknowledging = request;
            match transaction.commit().await {
                Ok(()) => return Ok(self.acknowledging.take()),
                Err(error) if error.is_try_again() => self.acknowledging = None,
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::Refused(crate::abi::XenError::TryAgain))
    }
}

impl<H: Hypervisor> fmt::Debug for Control<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control")
            .field("features", &self.features)
            .finish_non_exhaustive()
    }
}

/// What a key's value asks for. No key is no command.
fn command(value: Result<&[u8], StoreError>) -> Result<Option<ShutdownRequest>, StoreError> {
    match value {
        Ok(value) => Ok(ShutdownRequest::parse(value)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(StoreError::ReplyTooLong { .. }) => Ok(Some(ShutdownRequest::Unknown(String::new()))),
        Err(error) => Err(error),
    }
}

/// The requests of [`ask`]: says which commands the domain takes, …
const FEATURES: Range<usize> = 0..FEATURE_KEYS.len();
/// … looks for a command, …
const COMMAND: Range<usize> = FEATURE_KEYS.len()..FEATURE_KEYS.len() + 1;
/// … and both.
const ALL: Range<usize> = 0..FEATURE_KEYS.len() + 1;

/// Asks some of this, together. Which features xenstored took, and the command.
async fn ask<H: Hypervisor>(
    store: &Store<H>,
    asked: Range<usize>,
) -> (ControlFeatures, Result<Option<ShutdownRequest>, StoreError>) {
    let mut room = [0; COMMAND_MAX];
    let [poweroff, reboot, suspend, halt] = FEATURE_KEYS.map(|key| Request::write(key, b"1"));
    let read = Request::read(SHUTDOWN, &mut room);
    let mut requests = [poweroff, reboot, suspend, halt, read];
    store.carry_out(&mut requests[asked]).await;
    let [written @ .., read] = &requests;
    let taken = written.iter().zip(ControlFeatures::all().iter());
    let features = taken
        .filter(|(request, _)| request.result().is_ok())
        .map(|(_, feature)| feature)
        .collect();
    (features, command(read.result()))
}
