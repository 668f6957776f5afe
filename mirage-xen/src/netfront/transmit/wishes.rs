//! What a frame to transmit asks for, and whether it may.

use mirage_core::{Checksum, Frame, OffloadFlags, Segmentation, SegmentationKind, TransmitReason};

use super::super::headers::{ETHERNET_HEADER, Family, Transport, VLAN_TAG};
use super::super::keys::BackendFeatures;
use super::super::sum;
use crate::abi::netif::{ExtraInfo, SegmentationType, TransmitFlags, XEN_NETIF_MAX_TX_SIZE};

/// What a frame may be like.
#[derive(Clone, Copy, Debug)]
pub(in crate::netfront) struct Limits {
    /// Of an IP packet in a frame that isn't segmented.
    pub(in crate::netfront) mtu: u16,
    /// What the stack was ever told that frames may ask for.
    pub(in crate::netfront) offloads: OffloadFlags,
    /// What the backend does now.
    pub(in crate::netfront) features: BackendFeatures,
}

/// What the backend is asked to do with a frame.
pub(super) struct Wishes {
    pub(super) flags: TransmitFlags,
    pub(super) extra: Option<ExtraInfo>,
    pub(super) needs: BackendFeatures,
    /// The checksum is completed here: where it is, and what it is.
    pub(super) checksum: Option<(usize, [u8; 2])>,
}

impl Wishes {
    /// What a frame asks for, if it may.
    pub(super) fn of(
        frame: &Frame,
        length: usize,
        limits: &Limits,
    ) -> Result<Self, TransmitReason> {
        let metadata = frame.metadata;
        let most = match metadata.segmentation {
            None => ETHERNET_HEADER + VLAN_TAG + usize::from(limits.mtu),
            Some(_) => XEN_NETIF_MAX_TX_SIZE,
        };
        if length < ETHERNET_HEADER {
            return Err(TransmitReason::TooShort);
        }
        if length > most.min(XEN_NETIF_MAX_TX_SIZE) {
            return Err(TransmitReason::TooLong);
        }
        let mut wishes = Self {
            flags: TransmitFlags::empty(),
            extra: None,
            needs: BackendFeatures::default(),
            checksum: None,
        };
        if let Checksum::Partial { start, offset } = metadata.checksum {
            wishes.complete_checksum(frame, start, offset, limits)?;
        }
        if let Some(segmentation) = metadata.segmentation {
            wishes.segment(segmentation, limits)?;
        }
        Ok(wishes)
    }

    fn complete_checksum(
        &mut self,
        frame: &Frame,
        start: u16,
        offset: u16,
        limits: &Limits,
    ) -> Result<(), TransmitReason> {
        // The ring doesn't say where the checksum is: the backend finds it where the headers have it, or not at all.
        let transport = Transport::find(frame)
            .filter(|transport| (transport.start, transport.offset) == (start, offset))
            .ok_or(TransmitReason::Unsupported)?;
        let (offered, need) = match transport.family {
            Family::V4 => (
                OffloadFlags::TRANSMIT_PARTIAL_V4,
                &mut self.needs.checksum_v4,
            ),
            Family::V6 => (
                OffloadFlags::TRANSMIT_PARTIAL_V6,
                &mut self.needs.checksum_v6,
            ),
        };
        if !limits.offloads.contains(offered) {
            return Err(TransmitReason::Unsupported);
        }
        *need = true;
        // A backend looks for no headers behind a tag; and one that came after another may do less than that.
        if transport.tagged || !limits.features.cover(self.needs) {
            self.needs = BackendFeatures::default();
            let at = usize::from(start) + usize::from(offset);
            let checksum = sum::complete(frame, start, offset);
            self.checksum = Some((at, checksum.to_be_bytes()));
        } else {
            self.flags |= TransmitFlags::CSUM_BLANK | TransmitFlags::DATA_VALIDATED;
        }
        Ok(())
    }

    fn segment(
        &mut self,
        segmentation: Segmentation,
        limits: &Limits,
    ) -> Result<(), TransmitReason> {
        let (offered, need, kind) = match segmentation.kind {
            SegmentationKind::TcpV4 => (
                OffloadFlags::TRANSMIT_SEGMENTED_V4,
                &mut self.needs.segmentation_v4,
                SegmentationType::TcpV4,
            ),
            SegmentationKind::TcpV6 => (
                OffloadFlags::TRANSMIT_SEGMENTED_V6,
                &mut self.needs.segmentation_v6,
                SegmentationType::TcpV6,
            ),
            _ => return Err(TransmitReason::Unsupported),
        };
        *need = true;
        // Each segment's checksum is computed anew, of what is in the field.
        let blank = self.flags.contains(TransmitFlags::CSUM_BLANK);
        let usable = limits.offloads.contains(offered) && limits.features.cover(self.needs);
        if !blank || !usable || segmentation.size == 0 {
            return Err(TransmitReason::Unsupported);
        }
        self.flags |= TransmitFlags::EXTRA_INFO;
        self.extra = Some(ExtraInfo::Segmentation {
            size: segmentation.size,
            kind,
            features: 0,
        });
        Ok(())
    }
}
