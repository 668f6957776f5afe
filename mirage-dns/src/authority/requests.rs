//! What requests ask: transfers, notices, and what is the server's.

use alloc::boxed::Box;
use core::net::IpAddr;

use super::updates::Decided;
use super::{Authority, Handled, Now, SignedTransfer, reply};
use crate::message::{Flags, MessageReader};
use crate::name::Name;
use crate::notify::Notify;
use crate::record::{Opcode, Rcode};
use crate::server::{Client, Server, Transport};
use crate::transfer::{OutgoingTransfer, TransferRequest};
use crate::tsig::Verified;
use crate::zone_set::sort_key;

impl<'k> Authority<'k> {
    pub(super) fn handle_verified(
        &mut self,
        server: &Server,
        request: &[u8],
        client: &Client,
        verified: Option<&Verified<'k>>,
        now: Now,
        out: &mut [u8],
    ) -> Handled<'k> {
        let Ok(reader) = MessageReader::new(request) else {
            return self.answer(server, request, client, out);
        };
        let header = *reader.header();
        if header.flags.contains(Flags::QR) {
            return self.answer(server, request, client, out);
        }
        let (rcode, replied) = match header.opcode {
            Opcode::QUERY => match TransferRequest::parse(&reader) {
                Ok(Some(transfer)) => {
                    return self.handle_transfer_request(
                        server, &reader, &transfer, client, verified, out,
                    );
                }
                // What is malformed, and everything else, is the server's.
                Ok(None) | Err(_) => return self.answer(server, request, client, out),
            },
            Opcode::NOTIFY => {
                let rcode = match (reply::check_edns(&reader), Notify::parse(&reader)) {
                    (Err(rcode), _) => rcode,
                    (_, Ok(Some(notify))) => self.hear(&notify, client.address, verified, now),
                    (_, Ok(None)) => Rcode::NOTIMP,
                    (_, Err(_)) => Rcode::FORMERR,
                };
                (rcode, reply::write(request, rcode, Flags::AA, out))
            }
            Opcode::UPDATE => match self.update(&reader, client, verified) {
                Ok(Decided::Later(ticket)) => return Handled::Later(ticket),
                Ok(Decided::Nothing) => {
                    let rcode = Rcode::NOERROR;
                    (rcode, reply::write(request, rcode, Flags::empty(), out))
                }
                Err(rcode) => {
                    self.counters.updates_refused += 1;
                    (rcode, reply::write(request, rcode, Flags::empty(), out))
                }
            },
            _ => return self.answer(server, request, client, out),
        };
        self.send(server, client, verified, rcode, replied)
    }

    /// Sends an answer of our own, unless it is one too many to an address that anybody may have written: who signs has not.
    pub(super) fn send(
        &mut self,
        server: &Server,
        client: &Client,
        verified: Option<&Verified<'k>>,
        rcode: Rcode,
        written: Option<usize>,
    ) -> Handled<'k> {
        if verified.is_none() && server.holds_back(client, rcode) {
            self.counters.rate_limited += 1;
            return Handled::Ignored;
        }
        written.map_or(Handled::Ignored, Handled::Answer)
    }

    pub(super) fn answer(
        &self,
        server: &Server,
        request: &[u8],
        client: &Client,
        out: &mut [u8],
    ) -> Handled<'k> {
        let zones = self.zones.as_zone_set();
        match server.answer(&zones, request, client, out) {
            Some(length) => Handled::Answer(length),
            None => Handled::Ignored,
        }
    }

    pub(super) fn handle_transfer_request(
        &mut self,
        server: &Server,
        reader: &MessageReader<'_>,
        asked: &TransferRequest,
        client: &Client,
        verified: Option<&Verified<'k>>,
        out: &mut [u8],
    ) -> Handled<'k> {
        let transfer = self.may_transfer(reader, asked, client, verified);
        match (&transfer, client.transport) {
            (Err(_), _) => self.counters.transfers_refused += 1,
            (Ok(transfer), _) if transfer.is_incremental() => {
                self.counters.incremental_transfers_out += 1;
            }
            (Ok(_), _) => self.counters.whole_transfers_out += 1,
        }
        let request = reader.octets();
        let (rcode, written) = match (transfer, client.transport) {
            (Err(rcode), _) => (rcode, reply::write(request, rcode, Flags::empty(), out)),
            (Ok(transfer), Transport::Udp) => {
                let limit = reply::datagram_limit(request, server.limits()).min(out.len());
                let written = transfer.write_datagram(&mut out[..limit]);
                (Rcode::NOERROR, written.ok())
            }
            (Ok(transfer), Transport::Tcp) => {
                let signer = verified.map(Verified::stream);
                return Handled::Transfer(Box::new(SignedTransfer::new(transfer, signer)));
            }
        };
        self.send(server, client, verified, rcode, written)
    }

    pub(super) fn may_transfer(
        &self,
        reader: &MessageReader<'_>,
        asked: &TransferRequest,
        client: &Client,
        verified: Option<&Verified<'k>>,
    ) -> Result<OutgoingTransfer, Rcode> {
        reply::check_edns(reader)?;
        let apex = asked.apex.as_name();
        let key = verified.map(|verified| verified.key().name());
        let state = self.state_of(apex).ok_or(Rcode::REFUSED)?;
        if !state.config.transfer.allows(client.address, key) {
            return Err(Rcode::REFUSED);
        }
        if client.transport == Transport::Udp && asked.serial.is_none() {
            return Err(Rcode::REFUSED);
        }
        let transfer = match client.transport {
            Transport::Udp => OutgoingTransfer::for_datagram(asked, &self.zones, &state.journal),
            Transport::Tcp => OutgoingTransfer::new(asked, &self.zones, &state.journal),
        };
        transfer.ok_or(Rcode::SERVFAIL)
    }

    /// RFC 1996 §3.11: a notice that is not from one of the zone's primaries is not heard.
    pub(super) fn hear(
        &mut self,
        notify: &Notify,
        from: IpAddr,
        verified: Option<&Verified<'k>>,
        now: Now,
    ) -> Rcode {
        let key = verified.map(|verified| verified.key().name());
        let rcode = self.heard_by(notify, from, key, now);
        match rcode {
            Rcode::NOERROR => self.counters.notices_heard += 1,
            _ => self.counters.notices_refused += 1,
        }
        rcode
    }

    pub(super) fn heard_by(
        &mut self,
        notify: &Notify,
        from: IpAddr,
        key: Option<Name<'_>>,
        now: Now,
    ) -> Rcode {
        let Some(&place) = self.places.get(&sort_key(notify.apex.as_name())) else {
            return Rcode::NOTAUTH;
        };
        let state = &mut self.states[place];
        let Some(secondary) = &mut state.secondary else {
            return Rcode::NOTAUTH;
        };
        let primary = state.config.primaries.iter().position(|peer| {
            let signed = match &peer.key {
                None => true,
                Some(wanted) => key == Some(wanted.as_name()),
            };
            signed && peer.address.ip().to_canonical() == from.to_canonical()
        });
        match primary {
            Some(primary) => secondary.handle_notify(now.elapsed, primary, notify.serial),
            None if state.config.hear.allows(from, key) => {
                secondary.handle_notify(now.elapsed, 0, notify.serial);
            }
            None => return Rcode::REFUSED,
        }
        Rcode::NOERROR
    }
}
