//! A zone set together with its octets.

use alloc::boxed::Box;
use core::fmt;

use super::{ImageError, ZoneSet};

/// An image that was checked, with its octets: what is replaced while a server runs.
///
/// Holding one proves what a [`ZoneSet`] proves. It never changes; to look into it costs a few additions.
#[derive(Clone)]
pub struct OwnedZoneSet {
    octets: Box<[u8]>,
}

impl OwnedZoneSet {
    /// Checks an image, as [`ZoneSet::from_bytes`] does.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn new(image: impl Into<Box<[u8]>>) -> Result<Self, ImageError> {
        let octets = image.into();
        ZoneSet::from_bytes(&octets)?;
        Ok(Self { octets })
    }

    /// The zones.
    pub fn as_zone_set(&self) -> ZoneSet<'_> {
        // `new` has cut the same octets into the same tables.
        ZoneSet::split(&self.octets).unwrap_or(ZoneSet::EMPTY)
    }

    /// The image.
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }
}

impl fmt::Debug for OwnedZoneSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_zone_set().fmt(f)
    }
}
