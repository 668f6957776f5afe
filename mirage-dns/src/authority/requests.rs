//! What requests ask: transfers, notices, and what is the server's.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::net::IpAddr;

use super::updates::Decided;
use super::{Authority, Handled, Now, SignedTransfer, Why, reply};
use crate::message::{Flags, MessageReader};
use crate::name::Name;
use crate::notify::Notify;
use crate::record::{Opcode, Rcode};
use crate::server::{Client, CookieState, Server, Transport};
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
        let (cookie, rcode, replied) = match header.opcode {
            Opcode::QUERY => match TransferRequest::parse(&reader) {
                Ok(Some(transfer)) => {
                    return self.handle_transfer_request(
                        server, &reader, &transfer, client, verified, now, out,
                    );
                }
                // What is malformed, and everything else, is the server's.
                Ok(None) | Err(_) => return self.answer(server, request, client, out),
            },
            Opcode::NOTIFY => {
                let opt = server.opt(&reader, client);
                let rcode = match (opt.verdict(), Notify::parse(&reader)) {
                    (Err(rcode), _) => rcode,
                    (_, Ok(Some(notify))) => {
                        let rcode = self.hear(&notify, client.address, verified, now);
                        match rcode {
                            Rcode::NOERROR => {}
                            Rcode::REFUSED => {
                                self.turn_away(request, client, Why::NoPrimary, now);
                            }
                            _ => self.turn_away(request, client, Why::NotSecondary, now),
                        }
                        rcode
                    }
                    (_, Ok(None)) => Rcode::NOTIMP,
                    (_, Err(_)) => Rcode::FORMERR,
                };
                let written = reply::write(request, rcode, Flags::AA, &opt, out);
                (opt.cookie(), rcode, written)
            }
            Opcode::UPDATE => {
                let opt = server.opt(&reader, client);
                let rcode = match self.update(&reader, &opt, client, verified, now) {
                    Ok(Decided::Later(ticket)) => return Handled::Later(ticket),
                    Ok(Decided::Nothing) => Rcode::NOERROR,
                    Err(rcode) => {
                        self.counters.updates_refused += 1;
                        rcode
                    }
                };
                let written = reply::write(request, rcode, Flags::empty(), &opt, out);
                (opt.cookie(), rcode, written)
            }
            _ => return self.answer(server, request, client, out),
        };
        self.send(server, client, verified, cookie, rcode, replied)
    }

    /// Has it told that a request was turned away.
    pub(super) fn turn_away(&mut self, request: &[u8], client: &Client, why: Why, now: Now) {
        self.rejections
            .note(request, client.address, why, now.elapsed);
    }

    /// Sends an answer of our own, unless it is one too many to an address that anybody may have written: who signs, or has a right
    /// cookie, has not.
    pub(super) fn send(
        &mut self,
        server: &Server,
        client: &Client,
        verified: Option<&Verified<'k>>,
        cookie: CookieState,
        rcode: Rcode,
        written: Option<usize>,
    ) -> Handled<'k> {
        if verified.is_none() && server.holds_back(client, cookie, rcode) {
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

    #[allow(clippy::too_many_arguments)] // what a request is
    pub(super) fn handle_transfer_request(
        &mut self,
        server: &Server,
        reader: &MessageReader<'_>,
        asked: &TransferRequest,
        client: &Client,
        verified: Option<&Verified<'k>>,
        now: Now,
        out: &mut [u8],
    ) -> Handled<'k> {
        let opt = server.opt(reader, client);
        let transfer = match opt.verdict() {
            Ok(()) => self.may_transfer(reader, asked, client, verified, now),
            Err(rcode) => Err(rcode),
        };
        match (&transfer, client.transport) {
            (Err(_), _) => self.counters.transfers_refused += 1,
            (Ok(transfer), _) if transfer.is_incremental() => {
                self.counters.incremental_transfers_out += 1;
            }
            (Ok(_), _) => self.counters.whole_transfers_out += 1,
        }
        let request = reader.octets();
        let (rcode, written) = match (transfer, client.transport) {
            (Err(rcode), _) => {
                let written = reply::write(request, rcode, Flags::empty(), &opt, out);
                (rcode, written)
            }
            (Ok(transfer), transport) => {
                let rcode = Rcode::NOERROR;
                let transfer = transfer.with_opt(opt.record(rcode));
                if transport == Transport::Tcp {
                    let signer = verified.map(Verified::stream);
                    let transfer = SignedTransfer::new(transfer, signer, self.outgoing.clone());
                    return Handled::Transfer(Box::new(transfer));
                }
                let limit = opt.length_limit().min(out.len());
                let written = transfer.write_datagram(&mut out[..limit]);
                (rcode, written.ok())
            }
        };
        self.send(server, client, verified, opt.cookie(), rcode, written)
    }

    pub(super) fn may_transfer(
        &mut self,
        reader: &MessageReader<'_>,
        asked: &TransferRequest,
        client: &Client,
        verified: Option<&Verified<'k>>,
        now: Now,
    ) -> Result<OutgoingTransfer, Rcode> {
        let apex = asked.apex.as_name();
        let key = verified.map(|verified| verified.key().name());
        let state = self.state_of(apex);
        let state = state.filter(|state| state.config.transfer.allows(client.address, key));
        let Some(state) = state else {
            self.turn_away(reader.octets(), client, Why::NotAllowed, now);
            return Err(Rcode::REFUSED);
        };
        if client.transport == Transport::Udp && asked.serial.is_none() {
            return Err(Rcode::REFUSED);
        }
        let transfer = match client.transport {
            Transport::Udp => OutgoingTransfer::for_datagram(asked, &self.zones, &state.journal),
            Transport::Tcp => OutgoingTransfer::new(asked, &self.zones, &state.journal),
        };
        let transfer = transfer.ok_or(Rcode::SERVFAIL)?;
        // This one has none yet.
        let outgoing = Arc::strong_count(&self.outgoing) - 1;
        if client.transport == Transport::Tcp && outgoing >= self.bounds.transfers {
            self.counters.transfers_put_off += 1;
            self.turn_away(reader.octets(), client, Why::TooManyTransfers, now);
            return Err(Rcode::SERVFAIL);
        }
        Ok(transfer)
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
