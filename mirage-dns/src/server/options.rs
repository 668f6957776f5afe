//! EDNS options: what of a request's matters, and those of the answer.

use byteorder::{BigEndian, ByteOrder};

use super::Transport;
use crate::message::Edns;

/// The code of the name server identifier (RFC 5001).
const NSID: u16 = 3;
/// The code of cookies (RFC 7873).
const COOKIE: u16 = 10;
/// The code of edns-tcp-keepalive (RFC 7828).
const TCP_KEEPALIVE: u16 = 11;

/// Octets of a client cookie (RFC 7873 §4).
pub(super) const CLIENT_COOKIE_LENGTH: usize = 8;
/// Octets of a server cookie as this server makes it (RFC 9018 §4).
pub(super) const SERVER_COOKIE_LENGTH: usize = 16;
/// Octets before an option's data: code and length.
const OPTION_HEADER_LENGTH: usize = 4;

/// The most octets of a name server identifier.
pub const MAX_NSID_LENGTH: usize = 128;

/// Octets of all options that an answer may have.
pub(super) const MAX_OPTIONS_LENGTH: usize = OPTION_HEADER_LENGTH
    + MAX_NSID_LENGTH
    + OPTION_HEADER_LENGTH
    + CLIENT_COOKIE_LENGTH
    + SERVER_COOKIE_LENGTH
    + OPTION_HEADER_LENGTH
    + 2;

/// A cookie option: the client's part, and what the client takes for the server's, 8 to 32 octets of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestCookie<'a> {
    pub(super) client: &'a [u8; CLIENT_COOKIE_LENGTH],
    pub(super) server: &'a [u8],
}

/// The options of a request that matter to a server; all others are ignored (RFC 6891 §6.1.2).
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct RequestOptions<'a> {
    pub(super) cookie: Option<RequestCookie<'a>>,
    pub(super) wants_nsid: bool,
    pub(super) wants_keepalive: bool,
}

impl<'a> RequestOptions<'a> {
    /// Reads the options, of which none is looked at twice; adds one to `steps` for each. `None` when one is malformed
    /// that has a form: a cookie of another length than RFC 7873 §5.2.2 says, or a keep-alive over TCP that is not empty
    /// (RFC 7828 §3.2.1).
    ///
    /// Of several cookies the first counts, and where that was there no other is looked at.
    pub(super) fn parse(edns: &Edns<'a>, transport: Transport, steps: &mut u32) -> Option<Self> {
        let mut options = Self::default();
        for (code, data) in edns.options() {
            *steps += 1;
            match code {
                NSID => options.wants_nsid = true,
                COOKIE if options.cookie.is_none() => {
                    let (client, server) = data.split_first_chunk()?;
                    if !matches!(server.len(), 0 | 8..=32) {
                        return None;
                    }
                    options.cookie = Some(RequestCookie { client, server });
                }
                // RFC 7828 §3.2.1: over UDP it is ignored.
                TCP_KEEPALIVE if transport == Transport::Tcp => {
                    if !data.is_empty() {
                        return None;
                    }
                    options.wants_keepalive = true;
                }
                _ => {}
            }
        }
        Some(options)
    }
}

/// The options of an answer.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct ReplyOptions<'a> {
    /// Empty for none; at most [`MAX_NSID_LENGTH`] octets.
    pub(super) nsid: &'a [u8],
    pub(super) cookie: Option<[u8; CLIENT_COOKIE_LENGTH + SERVER_COOKIE_LENGTH]>,
    /// In units of 100 milliseconds.
    pub(super) keepalive: Option<u16>,
}

impl ReplyOptions<'_> {
    pub(super) const NONE: ReplyOptions<'static> = ReplyOptions {
        nsid: &[],
        cookie: None,
        keepalive: None,
    };

    /// Octets of all of them: at most [`MAX_OPTIONS_LENGTH`].
    pub(super) fn length(&self) -> usize {
        let nsid = match self.nsid.len() {
            0 => 0,
            length => OPTION_HEADER_LENGTH + length,
        };
        let cookie = self
            .cookie
            .map_or(0, |cookie| OPTION_HEADER_LENGTH + cookie.len());
        let keepalive = self.keepalive.map_or(0, |_| OPTION_HEADER_LENGTH + 2);
        nsid + cookie + keepalive
    }

    /// Gives them to `put`, encoded, until it gives `None`.
    pub(super) fn write(&self, mut put: impl FnMut(&[u8]) -> Option<()>) -> Option<()> {
        let mut option = |code: u16, data: &[u8]| {
            let mut header = [0; OPTION_HEADER_LENGTH];
            BigEndian::write_u16(&mut header[0..2], code);
            BigEndian::write_u16(&mut header[2..4], data.len() as u16); // at most 128
            put(&header)?;
            put(data)
        };
        if !self.nsid.is_empty() {
            option(NSID, self.nsid)?;
        }
        if let Some(cookie) = &self.cookie {
            option(COOKIE, cookie)?;
        }
        if let Some(timeout) = self.keepalive {
            option(TCP_KEEPALIVE, &timeout.to_be_bytes())?;
        }
        Some(())
    }
}
