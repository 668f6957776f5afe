//! Telling secondaries that a zone changed (RFC 1996).
//!
//! | item | what it is |
//! |------|------------|
//! | [`Notify`] | what a notice says, read and written |
//! | [`Notifier`] | tells the secondaries of one zone, until each has answered |
//! | [`Notice`] | one message that is to be sent |
//! | [`Schedule`] | how often it is tried |

use core::time::Duration;

use heapless::Vec;

use crate::difference::{RecordBuf, soa_serial};
use crate::message::{
    Flags, Header, MessageBuilder, MessageError, MessageReader, Section, WriteError,
};
use crate::name::{Name, NameBuf};
use crate::record::{Opcode, RecordClass, RecordType};

/// The most secondaries of one zone that are told.
pub const MAX_NOTIFIED: usize = 32;

/// A notice that a zone changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notify {
    /// The zone.
    pub apex: NameBuf,
    /// The serial of the SOA record in the answer section: a hint that is not signed for by anything (RFC 1996 §3.7).
    pub serial: Option<u32>,
}

impl Notify {
    /// Reads a request of opcode NOTIFY; `None` for one about anything but the SOA of a zone of class IN.
    ///
    /// # Errors
    /// What is malformed.
    pub fn parse(message: &MessageReader<'_>) -> Result<Option<Self>, MessageError> {
        let Some(question) = message.questions().next().transpose()? else {
            return Err(MessageError::Truncated);
        };
        if message.header().question_count != 1 {
            return Err(MessageError::Truncated);
        }
        let about = (question.record_type, question.class);
        let mut serial = None;
        for record in message.records() {
            let record = record?;
            let is_hint =
                record.section == Section::Answer && record.record_type == RecordType::SOA;
            if !is_hint {
                continue;
            }
            // A zone has one. To expand the names of others is work that nobody asked for.
            if record.owner()? == question.name {
                let mut buffer = [0; 2 * 255 + 20];
                serial = soa_serial(RecordType::SOA, record.rdata(&mut buffer)?);
            }
            break;
        }
        if about != (RecordType::SOA, RecordClass::IN) {
            return Ok(None);
        }
        Ok(Some(Self {
            apex: question.name,
            serial,
        }))
    }

    /// Writes the request that tells of the version with this SOA record; its length.
    ///
    /// # Errors
    /// [`WriteError::Full`]: 850 octets suffice.
    pub fn write(
        id: u16,
        apex: Name<'_>,
        soa: &RecordBuf,
        buffer: &mut [u8],
    ) -> Result<usize, WriteError> {
        let header = Header {
            id,
            flags: Flags::AA,
            opcode: Opcode::NOTIFY,
            ..Header::default()
        };
        let mut builder = MessageBuilder::new(buffer, header)?;
        builder.push_question(apex, RecordType::SOA, RecordClass::IN)?;
        let (section, class) = (Section::Answer, RecordClass::IN);
        builder.push_record(
            section,
            apex,
            RecordType::SOA,
            class,
            soa.ttl(),
            soa.rdata(),
        )?;
        Ok(builder.finish())
    }

    /// Whether `message` answers the notice with this ID about this zone, however it answers: a secondary that refuses has
    /// heard it.
    pub fn is_answered_by(id: u16, apex: Name<'_>, message: &[u8]) -> bool {
        let Ok(reader) = MessageReader::new(message) else {
            return false;
        };
        let header = reader.header();
        if header.id != id || header.opcode != Opcode::NOTIFY || !header.flags.contains(Flags::QR) {
            return false;
        }
        // Some leave the question out.
        match reader.questions().next() {
            None => true,
            Some(Ok(question)) => question.name.as_name() == apex,
            Some(Err(_)) => false,
        }
    }
}

/// How often a notice is tried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Schedule {
    /// After the first attempt; it doubles with each.
    pub first_pause: Duration,
    /// Attempts in all.
    pub attempts: u8,
}

impl Default for Schedule {
    /// Six attempts, 2 seconds after the first, 64 after the last. RFC 1996 §3.6 proposes five with a minute between, by
    /// when most secondaries have long asked by themselves.
    fn default() -> Self {
        Self {
            first_pause: Duration::from_secs(2),
            attempts: 6,
        }
    }
}

/// A message that is to be sent now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Notice {
    /// To which secondary, by its place in the owner's list.
    pub secondary: usize,
    /// Which attempt it is; 0 is the first.
    pub attempt: u8,
    /// Which change it tells of, counted from 1 and around.
    pub change: u32,
}

/// Tells the secondaries of one zone of its newest version.
///
/// - Inputs: [`Notifier::handle_change`], [`Notifier::handle_answer`];
/// - outputs: [`Notifier::poll_notice`], then [`Notifier::poll_timeout`].
#[derive(Clone, Debug)]
pub struct Notifier {
    secondaries: usize,
    schedule: Schedule,
    /// How many changes there were.
    changes: u32,
    waiting: Vec<Waiting, MAX_NOTIFIED>,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    secondary: usize,
    attempt: u8,
    next: Duration,
}

impl Notifier {
    /// For a zone with so many secondaries, of which the first [`MAX_NOTIFIED`] are told.
    pub const fn new(secondaries: usize, schedule: Schedule) -> Self {
        Self {
            secondaries,
            schedule,
            changes: 0,
            waiting: Vec::new(),
        }
    }

    /// The zone has another version: all secondaries are told, be it in the middle of telling them of the one before.
    pub fn handle_change(&mut self, now: Duration) {
        self.changes = self.changes.wrapping_add(1);
        self.waiting.clear();
        for secondary in 0..self.secondaries {
            let waiting = Waiting {
                secondary,
                attempt: 0,
                next: now,
            };
            if self.waiting.push(waiting).is_err() {
                break;
            }
        }
    }

    /// A secondary has answered a notice of this change. It is told no more of it, but for all that of what changed since.
    pub fn handle_answer(&mut self, secondary: usize, change: u32) {
        if change == self.changes {
            self.waiting
                .retain(|waiting| waiting.secondary != secondary);
        }
    }

    /// The next message that is due, or `None`.
    pub fn poll_notice(&mut self, now: Duration) -> Option<Notice> {
        let index = self
            .waiting
            .iter()
            .position(|waiting| waiting.next <= now)?;
        let waiting = &mut self.waiting[index];
        if waiting.attempt >= self.schedule.attempts {
            self.waiting.swap_remove(index);
            return self.poll_notice(now);
        }
        let notice = Notice {
            secondary: waiting.secondary,
            attempt: waiting.attempt,
            change: self.changes,
        };
        let factor = 1u32.checked_shl(waiting.attempt.into()).unwrap_or(u32::MAX);
        let pause = self.schedule.first_pause.saturating_mul(factor);
        waiting.attempt += 1;
        waiting.next = now.saturating_add(pause);
        Some(notice)
    }

    /// When [`Self::poll_notice`] is due next; `None` when everyone was told.
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.waiting.iter().map(|waiting| waiting.next).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apex() -> NameBuf {
        NameBuf::from_text("example.org").unwrap()
    }

    fn soa(serial: u32) -> RecordBuf {
        let mut rdata = std::vec![0, 0];
        for number in [serial, 2, 3, 4, 5] {
            rdata.extend(number.to_be_bytes());
        }
        RecordBuf::new(apex().as_name(), RecordType::SOA, 60, &rdata)
    }

    #[test]
    fn notice_is_read_as_it_was_written() {
        let mut buffer = [0; 512];
        let length = Notify::write(7, apex().as_name(), &soa(42), &mut buffer).unwrap();
        let reader = MessageReader::new(&buffer[..length]).unwrap();
        assert_eq!(reader.header().opcode, Opcode::NOTIFY);
        let notify = Notify::parse(&reader).unwrap().unwrap();
        assert_eq!((notify.apex, notify.serial), (apex(), Some(42)));
    }

    #[test]
    fn notice_without_a_soa_or_about_something_else_is_told_apart() {
        let write = |record_type| {
            let mut buffer = [0; 512];
            let header = Header {
                opcode: Opcode::NOTIFY,
                ..Header::default()
            };
            let mut builder = MessageBuilder::new(&mut buffer, header).unwrap();
            builder
                .push_question(apex().as_name(), record_type, RecordClass::IN)
                .unwrap();
            let length = builder.finish();
            Notify::parse(&MessageReader::new(&buffer[..length]).unwrap())
        };
        assert_eq!(write(RecordType::SOA).unwrap().unwrap().serial, None);
        assert_eq!(write(RecordType::A).unwrap(), None);
        let none = Header::default().to_octets();
        assert!(Notify::parse(&MessageReader::new(&none).unwrap()).is_err());
    }

    #[test]
    fn answer_is_taken_for_its_own_notice_alone() {
        let mut buffer = [0; 512];
        let length = Notify::write(7, apex().as_name(), &soa(42), &mut buffer).unwrap();
        let answers = |message: &[u8], id| Notify::is_answered_by(id, apex().as_name(), message);
        assert!(!answers(&buffer[..length], 7), "a request is no answer");
        buffer[2] |= 0x80;
        assert!(answers(&buffer[..length], 7));
        assert!(!answers(&buffer[..length], 8));
        assert!(!answers(&buffer[..5], 7));
        let other = NameBuf::from_text("example.net").unwrap();
        assert!(!Notify::is_answered_by(
            7,
            other.as_name(),
            &buffer[..length]
        ));
    }

    #[test]
    fn secondary_that_is_silent_is_told_again_with_longer_pauses_and_then_left_alone() {
        let mut notifier = Notifier::new(1, Schedule::default());
        let mut now = Duration::from_secs(100);
        notifier.handle_change(now);
        for (attempt, pause) in (0..6).zip([2, 4, 8, 16, 32, 64]) {
            let (secondary, change) = (0, 1);
            let notice = Notice {
                secondary,
                attempt,
                change,
            };
            assert_eq!(notifier.poll_notice(now), Some(notice));
            assert_eq!(notifier.poll_notice(now), None);
            assert_eq!(
                notifier.poll_timeout(),
                Some(now + Duration::from_secs(pause))
            );
            now += Duration::from_secs(pause);
        }
        assert_eq!(notifier.poll_notice(now), None);
        assert_eq!(notifier.poll_timeout(), None);
    }

    #[test]
    fn each_secondary_is_told_until_it_answers_and_of_a_new_version_again() {
        let mut notifier = Notifier::new(3, Schedule::default());
        let now = Duration::from_secs(1);
        notifier.handle_change(now);
        let told = |notifier: &mut Notifier, now| {
            let mut told = std::vec::Vec::new();
            while let Some(notice) = notifier.poll_notice(now) {
                told.push(notice.secondary);
            }
            told.sort();
            told
        };
        assert_eq!(told(&mut notifier, now), [0, 1, 2]);
        notifier.handle_answer(1, 1);
        let later = now + Duration::from_secs(2);
        assert_eq!(told(&mut notifier, later), [0, 2]);
        notifier.handle_change(later);
        assert_eq!(told(&mut notifier, later), [0, 1, 2]);
    }

    #[test]
    fn answer_to_a_notice_of_an_older_version_ends_no_newer_one() {
        let mut notifier = Notifier::new(1, Schedule::default());
        let now = Duration::from_secs(1);
        notifier.handle_change(now);
        let older = notifier.poll_notice(now).unwrap();
        notifier.handle_change(now);
        let newer = notifier.poll_notice(now).unwrap();
        // The newer one was lost on its way.
        notifier.handle_answer(older.secondary, older.change);
        let later = now + Duration::from_secs(2);
        assert_eq!(notifier.poll_timeout(), Some(later));
        let again = notifier.poll_notice(later).unwrap();
        assert_eq!((again.change, again.attempt), (newer.change, 1));
        notifier.handle_answer(again.secondary, again.change);
        assert_eq!(notifier.poll_timeout(), None);
    }
}
