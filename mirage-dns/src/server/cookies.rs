//! Cookies: RFC 7873, with RFC 9018's interoperable server cookies.

use core::cell::Cell;
use core::fmt;
use core::net::IpAddr;

use byteorder::{BigEndian, ByteOrder};
use siphasher::sip::SipHasher24;

use super::Client;
use super::options::{CLIENT_COOKIE_LENGTH, RequestCookie, SERVER_COOKIE_LENGTH};

/// Octets of a server secret (RFC 9018 §4.4: the key of SipHash-2-4).
pub const SERVER_SECRET_LENGTH: usize = 16;

/// For how many seconds a server cookie is good (RFC 9018 §4.3).
const LIFETIME: u32 = 60 * 60;
/// After how many seconds the client is given a new one (RFC 9018 §4.3).
const RENEWAL: u32 = LIFETIME / 2;
/// By how many seconds another server's clock, which made the cookie, may be ahead (RFC 9018 §4.3).
const AHEAD: u32 = 5 * 60;

/// RFC 9018 §4.2: the one version that there is.
const VERSION: u8 = 1;

type ServerCookie = [u8; SERVER_COOKIE_LENGTH];

/// Makes server cookies, and knows them again.
///
/// All servers that answer at one address need the same secrets. To change them, each server is told in three steps,
/// each on all servers before the next (RFC 9018 §5): [`accept`](Self::accept) the new one, [`swap`](Self::swap) it
/// with the old one, and an hour later [`forget`](Self::forget) that. A server that is alone does the first two at once.
pub struct Cookies {
    /// What cookies are made with.
    secret: Cell<[u8; SERVER_SECRET_LENGTH]>,
    /// With what they may have been made, too.
    other: Cell<Option<[u8; SERVER_SECRET_LENGTH]>>,
}

impl Cookies {
    /// With one secret, which nobody can guess: 128 random bits.
    pub const fn new(secret: [u8; SERVER_SECRET_LENGTH]) -> Self {
        Self {
            secret: Cell::new(secret),
            other: Cell::new(None),
        }
    }

    /// Takes cookies that were made with a second secret, too; in the place of an earlier second one.
    pub fn accept(&self, secret: [u8; SERVER_SECRET_LENGTH]) {
        self.other.set(Some(secret));
    }

    /// Makes cookies with the second secret from now on, and goes on taking those that were made with the first. Nothing
    /// happens where there is no second one.
    pub fn swap(&self) {
        if let Some(other) = self.other.get() {
            self.other.set(Some(self.secret.replace(other)));
        }
    }

    /// Takes no cookies any more that were made with the second secret.
    pub fn forget(&self) {
        self.other.set(None);
    }
}

impl fmt::Debug for Cookies {
    /// Without the secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cookies").finish_non_exhaustive()
    }
}

/// What is known of one who asks by the cookies that came along.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum CookieState {
    /// None came, or the server has no secrets.
    #[default]
    None,
    /// A client cookie alone: a client that does not know this server yet.
    Client,
    /// A server cookie that this server did not make, made for another address, or too long ago.
    Wrong,
    /// A server cookie that was made for this client: the address is the client's own, or one that it can receive at.
    Right,
}

/// What the server asks of [`Cookies`]: as a trait, so that an image in which nobody makes cookies has nothing of them.
pub(super) trait Bakery: fmt::Debug {
    /// What is known by a cookie, and the server cookie that the answer gives back.
    fn judge(&self, cookie: &RequestCookie<'_>, client: &Client) -> (CookieState, ServerCookie);
}

impl Bakery for Cookies {
    fn judge(&self, cookie: &RequestCookie<'_>, client: &Client) -> (CookieState, ServerCookie) {
        // RFC 9018 §4.3: seconds in serial arithmetic (RFC 1982), which the low 32 bits are for.
        let now = client.now as u32;
        let fresh = || {
            let mut made = [0; SERVER_COOKIE_LENGTH];
            made[0] = VERSION;
            BigEndian::write_u32(&mut made[4..8], now);
            let hash = hash(&self.secret.get(), cookie.client, &made, client.address);
            made[8..].copy_from_slice(&hash);
            made
        };
        let Ok(received) = ServerCookie::try_from(cookie.server) else {
            let state = if cookie.server.is_empty() {
                CookieState::Client
            } else {
                CookieState::Wrong
            };
            return (state, fresh());
        };
        let age = now.wrapping_sub(BigEndian::read_u32(&received[4..8])) as i32;
        let in_time = -(AHEAD as i32) <= age && age <= LIFETIME as i32;
        if received[0] != VERSION || !in_time {
            return (CookieState::Wrong, fresh());
        }
        let is_made_with = |secret: &[u8; SERVER_SECRET_LENGTH]| {
            let hash = hash(secret, cookie.client, &received, client.address);
            // Two words: to compare them takes as long wherever they differ.
            u64::from_ne_bytes(hash) ^ read_word(&received[8..]) == 0
        };
        if is_made_with(&self.secret.get()) {
            let old = age > RENEWAL as i32;
            return (CookieState::Right, if old { fresh() } else { received });
        }
        let with_other = self.other.get().is_some_and(|other| is_made_with(&other));
        let state = if with_other {
            CookieState::Right
        } else {
            CookieState::Wrong
        };
        (state, fresh())
    }
}

fn read_word(octets: &[u8]) -> u64 {
    octets.first_chunk().copied().map_or(0, u64::from_ne_bytes)
}

/// RFC 9018 §4.4: SipHash-2-4 of client cookie, version, reserved octets, timestamp and address.
fn hash(
    secret: &[u8; SERVER_SECRET_LENGTH],
    client: &[u8; CLIENT_COOKIE_LENGTH],
    server: &ServerCookie,
    address: IpAddr,
) -> [u8; 8] {
    let mut input = [0; CLIENT_COOKIE_LENGTH + 8 + 16];
    input[..8].copy_from_slice(client);
    input[8..16].copy_from_slice(&server[..8]);
    let length = match address {
        IpAddr::V4(address) => {
            input[16..20].copy_from_slice(&address.octets());
            20
        }
        IpAddr::V6(address) => {
            input[16..32].copy_from_slice(&address.octets());
            32
        }
    };
    SipHasher24::new_with_key(secret)
        .hash(&input[..length])
        .to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hexadecimal digits as octets.
    fn octets<const N: usize>(text: &str) -> [u8; N] {
        assert_eq!(text.len(), 2 * N);
        core::array::from_fn(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap())
    }

    fn client(address: &str, now: u64) -> Client {
        Client {
            address: address.parse().unwrap(),
            transport: crate::server::Transport::Udp,
            now,
        }
    }

    const SECRET: &str = "e5e973e5a6b2a43f48e7dc849e37bfcf";

    fn judge(cookies: &Cookies, cookie: &str, client: &Client) -> (CookieState, ServerCookie) {
        let (own, server) = cookie.split_at(16);
        let server = match server.len() {
            0 => std::vec::Vec::new(),
            32 => octets::<16>(server).to_vec(),
            _ => octets::<8>(&server[..16]).to_vec(),
        };
        let cookie = RequestCookie {
            client: &octets(own),
            server: &server,
        };
        cookies.judge(&cookie, client)
    }

    /// RFC 9018, Appendix A.1.
    #[test]
    fn client_cookie_alone_gets_the_server_cookie_of_the_rfc() {
        let cookies = Cookies::new(octets(SECRET));
        let judged = judge(
            &cookies,
            "2464c4abcf10c957",
            &client("198.51.100.100", 1_559_731_985),
        );
        let made = octets("010000005cf79f111f8130c3eee29480");
        assert_eq!(judged, (CookieState::Client, made));
    }

    /// RFC 9018, Appendix A.2: 40 minutes later.
    #[test]
    fn cookie_older_than_half_an_hour_is_right_and_renewed_as_in_the_rfc() {
        let cookies = Cookies::new(octets(SECRET));
        let cookie = "2464c4abcf10c957010000005cf79f111f8130c3eee29480";
        let judged = judge(&cookies, cookie, &client("198.51.100.100", 1_559_734_385));
        let made = octets("010000005cf7a871d4a564a1442aca77");
        assert_eq!(judged, (CookieState::Right, made));
    }

    /// RFC 9018, Appendix A.3: reserved octets that are not zero, and a cookie of nearly two hours, which is hashed as it
    /// came and is too old by the same RFC's §4.3.
    #[test]
    fn reserved_octets_are_hashed_as_they_came() {
        let cookies = Cookies::new(octets(SECRET));
        let cookie = "fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5";
        let in_time = judge(
            &cookies,
            cookie,
            &client("203.0.113.203", 1_559_727_985 + 60),
        );
        let same = octets("01abcdef5cf78f71a314227b6679ebf5");
        assert_eq!(in_time, (CookieState::Right, same));
        let late = judge(&cookies, cookie, &client("203.0.113.203", 1_559_734_700));
        let made = octets("010000005cf7a9acf73a7810aca2381e");
        assert_eq!(late, (CookieState::Wrong, made));
    }

    /// RFC 9018, Appendix A.4.
    #[test]
    fn ipv6_cookie_of_the_secret_before_is_right_and_made_anew_as_in_the_rfc() {
        let cookies = Cookies::new(octets("dd3bdf9344b678b185a6f5cb60fca715"));
        cookies.accept(octets("445536bcd2513298075a5d379663c962"));
        let asked = client("2001:db8:220:1:59de:d0f4:8769:82b8", 1_559_741_961);
        let cookie = "22681ab97d52c298010000005cf7c57926556bd0934c72f8";
        // First step: made with the old secret still, so that it stays as it is.
        let same = octets("010000005cf7c57926556bd0934c72f8");
        assert_eq!(judge(&cookies, cookie, &asked), (CookieState::Right, same));
        cookies.swap();
        let made: ServerCookie = octets("010000005cf7c609a6bb79d16625507a");
        assert_eq!(judge(&cookies, cookie, &asked), (CookieState::Right, made));
        cookies.forget();
        assert_eq!(judge(&cookies, cookie, &asked), (CookieState::Wrong, made));
        cookies.swap();
        assert_eq!(judge(&cookies, cookie, &asked), (CookieState::Wrong, made));
    }

    #[test]
    fn cookie_of_another_address_client_time_version_or_length_is_wrong() {
        let cookies = Cookies::new(octets(SECRET));
        let cookie = "2464c4abcf10c957010000005cf79f111f8130c3eee29480";
        let made_at = 1_559_731_985;
        let state =
            |cookie: &str, address: &str, now| judge(&cookies, cookie, &client(address, now)).0;
        let own = "198.51.100.100";
        assert_eq!(state(cookie, own, made_at), CookieState::Right);
        assert_eq!(state(cookie, "198.51.100.101", made_at), CookieState::Wrong);
        assert_eq!(
            state(cookie, "::ffff:198.51.100.100", made_at),
            CookieState::Wrong
        );
        for (now, expected) in [
            (made_at + 3600, CookieState::Right),
            (made_at + 3601, CookieState::Wrong),
            (made_at - 300, CookieState::Right),
            (made_at - 301, CookieState::Wrong),
        ] {
            assert_eq!(state(cookie, own, now), expected, "{now}");
        }
        for place in 0..cookie.len() {
            let mut other = cookie.as_bytes().to_vec();
            other[place] = if other[place] == b'0' { b'1' } else { b'0' };
            let other = std::string::String::from_utf8(other).unwrap();
            assert_eq!(state(&other, own, made_at), CookieState::Wrong, "{place}");
        }
        assert_eq!(state(&cookie[..32], own, made_at), CookieState::Wrong);
    }

    #[test]
    fn time_wraps_after_136_years_without_a_gap() {
        let cookies = Cookies::new(octets(SECRET));
        let before = client("192.0.2.1", u64::from(u32::MAX) - 10);
        let own = octets("2464c4abcf10c957");
        let first = RequestCookie {
            client: &own,
            server: &[],
        };
        let (_, made) = cookies.judge(&first, &before);
        let after = client("192.0.2.1", u64::from(u32::MAX) + 10);
        let again = RequestCookie {
            client: &own,
            server: &made,
        };
        assert_eq!(cookies.judge(&again, &after), (CookieState::Right, made));
    }

    #[test]
    fn secrets_are_not_shown() {
        let shown = std::format!("{:?}", Cookies::new(octets(SECRET)));
        assert_eq!(shown, "Cookies { .. }");
    }
}
