//! Answers that were encoded before.

use core::fmt;

use byteorder::{BigEndian, ByteOrder};

use super::{Client, Server, Transport, length_limit};
use crate::message::{Edns, Flags, HEADER_LENGTH};
use crate::record::{Rcode, RecordType};
use crate::zone_set::ZoneSet;

/// The most octets of an answer that a [`Memo`] keeps: with what else is known of it, four lines of a processor's cache.
pub const MAX_MEMO_LENGTH: usize = 232;

/// Octets of the header that are the same in the answers to equal questions: all but the ID.
const ID_LENGTH: usize = 2;

/// A place for one answer.
#[derive(Clone)]
#[repr(align(64))]
pub struct MemoSlot {
    generation: u64,
    /// All of the question that matters beside its octets; see [`Key`]. 0 while the place is empty.
    key: u32,
    /// Octets of the answer, and of them those of the question behind the header.
    length: u8,
    question_length: u8,
    rcode: Rcode,
    octets: [u8; MAX_MEMO_LENGTH],
}

impl MemoSlot {
    /// A place without an answer.
    pub const EMPTY: Self = Self {
        generation: 0,
        key: 0,
        length: 0,
        question_length: 0,
        rcode: Rcode::NOERROR,
        octets: [0; MAX_MEMO_LENGTH],
    };
}

impl fmt::Debug for MemoSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoSlot")
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

/// A cache of encoded answers before a [`Server`]: what is asked again, exactly so, is copied, and its ID put right.
///
/// An answer belongs to the octets of its question, case included; to RD, EDNS with DO or none; to how long it might have
/// been; to the transport; and to a *generation* of the zones, which whoever changes them counts up. Of another
/// generation nothing is used. Requests that have anything else, EDNS options above all, are not looked for. So an answer
/// is what [`Server::answer`] would give, octet for octet.
///
/// The size is the caller's. A question has one place; whoever is asked for later takes it. Who asks for many names
/// empties the memo of what it had, and is answered as without one.
///
/// - Getters: [`Memo::hits`].
/// - Input and output in one: [`Memo::answer`].
#[derive(Debug)]
pub struct Memo<'a> {
    slots: &'a mut [MemoSlot],
    hits: u64,
}

impl<'a> Memo<'a> {
    /// Keeps answers in `slots`; without one, or with [`MemoSlot::EMPTY`] ones, it knows nothing.
    pub const fn new(slots: &'a mut [MemoSlot]) -> Self {
        Self { slots, hits: 0 }
    }

    /// How many requests were answered from it.
    pub const fn hits(&self) -> u64 {
        self.hits
    }

    /// Answers as [`Server::answer`] does, counters included. `generation` is another for other zones: it must never have
    /// been that of other ones with this memo.
    ///
    /// A server with a rate limiter is asked each time: it has to know what it would say.
    pub fn answer(
        &mut self,
        server: &Server<'_>,
        zones: &ZoneSet<'_>,
        generation: u64,
        request: &[u8],
        client: &Client,
        out: &mut [u8],
    ) -> Option<usize> {
        let asked = Asked::parse(server, request, client.transport, out.len());
        let slots = self.slots.len();
        let Some(asked) = asked.filter(|_| slots > 0 && server.extensions.rate_limiter.is_none())
        else {
            return server.answer(zones, request, client, out);
        };
        // A multiplication in place of a division: the upper part of hash × length.
        let place = ((u64::from(asked.hash()) * slots as u64) >> 32) as usize;
        let slot = &mut self.slots[place];
        if slot.key == asked.key
            && slot.generation == generation
            && slot.question() == asked.question
        {
            let length = usize::from(slot.length);
            out[..ID_LENGTH].copy_from_slice(&request[..ID_LENGTH]);
            out[ID_LENGTH..length].copy_from_slice(&slot.octets[ID_LENGTH..length]);
            self.hits = self.hits.wrapping_add(1);
            let flags = Flags::from_bits_truncate(BigEndian::read_u16(&slot.octets[2..4]));
            server.count_plain(client.transport, slot.rcode, flags);
            return Some(length);
        }
        let answer = server.answer_whole(zones, request, client, out)?;
        let question = HEADER_LENGTH..HEADER_LENGTH + asked.question.len();
        let octets = &out[..answer.length];
        if octets.len() <= MAX_MEMO_LENGTH && octets.get(question) == Some(asked.question) {
            slot.generation = generation;
            slot.key = asked.key;
            slot.length = octets.len() as u8; // at most 232
            slot.question_length = asked.question.len() as u8;
            slot.rcode = answer.rcode;
            slot.octets[..octets.len()].copy_from_slice(octets);
        }
        Some(answer.length)
    }
}

impl MemoSlot {
    fn question(&self) -> &[u8] {
        let end = HEADER_LENGTH + usize::from(self.question_length);
        self.octets.get(HEADER_LENGTH..end).unwrap_or(&[])
    }
}

/// A request of the plain kind.
struct Asked<'r> {
    /// Name, type and class.
    question: &'r [u8],
    /// The limit of the answer's length in the lower half; transport, RD, EDNS, DO above it; and a bit that is always set.
    key: u32,
}

impl<'r> Asked<'r> {
    const IS_SET: u32 = 1 << 16;
    const TCP: u32 = 1 << 17;
    const RD: u32 = 1 << 18;
    const EDNS: u32 = 1 << 19;
    const DO: u32 = 1 << 20;

    /// `None` for what is not plain: another opcode, more than a question and an OPT record of version 0 without options,
    /// octets behind it, a question that the server would not read.
    #[inline]
    fn parse(
        server: &Server<'_>,
        request: &'r [u8],
        transport: Transport,
        room: usize,
    ) -> Option<Self> {
        let (header, rest) = request.split_first_chunk::<HEADER_LENGTH>()?;
        // QR and the opcode are 0; one question, no answer and no authority.
        if header[2] & 0xf8 != 0 || header[4..10] != [0, 1, 0, 0, 0, 0] || header[10] != 0 {
            return None;
        }
        let (question, edns) = match header[11] {
            0 => (rest, None),
            1 => {
                let (question, opt) = rest.split_last_chunk::<{ Edns::RECORD_LENGTH }>()?;
                // The root, OPT; at the end version 0, and no options.
                if opt[..3] != [0, 0, RecordType::OPT.0 as u8] || opt[6] != 0 || opt[9..] != [0, 0]
                {
                    return None;
                }
                (question, Some(opt))
            }
            _ => return None,
        };
        // The name's labels end where type and class begin: else there would be octets of something else.
        let mut at = 0;
        let end = question.len().checked_sub(5)?;
        if end > MAX_MEMO_LENGTH {
            return None;
        }
        while at < end {
            match question[at] {
                length @ 1..=63 => at += 1 + usize::from(length),
                _ => return None,
            }
        }
        if at != end || question[at] != 0 {
            return None;
        }
        let size = edns.map(|opt| BigEndian::read_u16(&opt[3..5]));
        let limit = length_limit(&server.limits, transport, size).min(room);
        let mut key = Self::IS_SET | limit as u32; // at most 65,535
        if transport == Transport::Tcp {
            key |= Self::TCP;
        }
        if header[2] & 1 != 0 {
            key |= Self::RD;
        }
        if let Some(opt) = edns {
            key |= Self::EDNS;
            if opt[7] & 0x80 != 0 {
                key |= Self::DO;
            }
        }
        Some(Self { question, key })
    }

    /// Spreads well; who knows how can do no more than push an answer out, which is found again.
    #[inline]
    fn hash(&self) -> u32 {
        const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
        let mix = |value: u64| {
            let product = u128::from(value ^ MULTIPLIER.rotate_left(32)) * u128::from(MULTIPLIER);
            product as u64 ^ (product >> 64) as u64
        };
        let mut state = mix(u64::from(self.key) << 8 ^ self.question.len() as u64);
        let mut chunks = self.question.chunks_exact(8);
        for chunk in &mut chunks {
            let mut octets = [0; 8];
            octets.copy_from_slice(chunk);
            state = mix(state ^ u64::from_le_bytes(octets));
        }
        // The last eight octets, be they partly among those before: a question has five at least.
        let last = match self.question.last_chunk::<8>() {
            Some(octets) => u64::from_le_bytes(*octets),
            None => {
                let mut octets = [0; 8];
                octets[..self.question.len()].copy_from_slice(self.question);
                u64::from_le_bytes(octets)
            }
        };
        (mix(state ^ last) >> 32) as u32
    }
}
