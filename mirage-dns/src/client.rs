//! The asking side, for tools and tests: writes a query and tells whether a message answers it.
//!
//! | item | what it is |
//! |------|------------|
//! | [`Query`] | what is asked, and how |
//! | [`ReplyError`] | why a message is not the answer, or not one to use |
//!
//! What [`Query::accept`] cannot see is up to the caller: that the message came from the address and port that were
//! asked, to the port that asked (RFC 5452 §9.2), and that IDs and ports are drawn at random.
//!
//! ```
//! use mirage_dns::client::{Query, ReplyError};
//! use mirage_dns::name::NameBuf;
//! use mirage_dns::record::RecordType;
//!
//! let name = NameBuf::from_text("www.example.org")?;
//! let query = Query::new(0x2a17, name.as_name(), RecordType::A);
//! let mut buffer = [0; 512];
//! let length = query.write(&mut buffer)?;
//! // A query is no reply to itself.
//! assert_eq!(query.accept(&buffer[..length]).unwrap_err(), ReplyError::NotAResponse);
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```

use core::error::Error;
use core::fmt;

use crate::message::{
    Edns, Flags, Header, MessageBuilder, MessageError, MessageReader, WriteError,
};
use crate::name::Name;
use crate::record::{Opcode, RecordClass, RecordType};

/// A question to one server.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// Repeated in the reply; to be drawn at random.
    pub id: u16,
    /// What is asked about. The reply must repeat it octet by octet: random case makes forging harder.
    pub name: Name<'a>,
    /// What is asked for.
    pub record_type: RecordType,
    /// In which class.
    pub class: RecordClass,
    /// RD, AD, CD.
    pub flags: Flags,
    /// The OPT record to send, if any.
    pub edns: Option<Edns<'a>>,
}

impl<'a> Query<'a> {
    /// A query of class IN without recursion that takes answers of 1,232 octets over UDP.
    pub const fn new(id: u16, name: Name<'a>, record_type: RecordType) -> Self {
        Self {
            id,
            name,
            record_type,
            class: RecordClass::IN,
            flags: Flags::empty(),
            edns: Some(Edns::with_payload_size(1232)),
        }
    }

    /// Writes the query into `buffer`; its length.
    ///
    /// # Errors
    /// [`WriteError::Full`]: 286 octets and the options suffice.
    pub fn write(&self, buffer: &mut [u8]) -> Result<usize, WriteError> {
        let header = Header {
            id: self.id,
            flags: self.flags,
            ..Header::default()
        };
        let mut builder = MessageBuilder::new(buffer, header)?;
        builder.push_question(self.name, self.record_type, self.class)?;
        if let Some(edns) = &self.edns {
            builder.push_edns(edns)?;
        }
        Ok(builder.finish())
    }

    /// The reply, if `message` is one to this query. Only then do its code and records mean anything.
    ///
    /// A response code is none of the errors: the caller reads it from the header.
    ///
    /// # Errors
    /// [`ReplyError::Truncated`] asks for TCP. All others mean that the message is to be thrown away, and the reply
    /// waited for further.
    pub fn accept<'m>(&self, message: &'m [u8]) -> Result<MessageReader<'m>, ReplyError> {
        let reader = MessageReader::new(message).map_err(ReplyError::Malformed)?;
        let header = reader.header();
        if !header.flags.contains(Flags::QR) || header.opcode != Opcode::QUERY {
            return Err(ReplyError::NotAResponse);
        }
        if header.id != self.id {
            return Err(ReplyError::OtherId);
        }
        // RFC 1035 §7.3, RFC 5452 §9.1: nothing is believed before the question is the one that was asked.
        let question = reader.questions().next().ok_or(ReplyError::OtherQuestion)?;
        let question = question.map_err(ReplyError::Malformed)?;
        let same = header.question_count == 1
            && question.name.as_name().as_wire() == self.name.as_wire()
            && (question.record_type, question.class) == (self.record_type, self.class);
        if !same {
            return Err(ReplyError::OtherQuestion);
        }
        // RFC 2181 §9: what a truncated reply has is not to be used as if it were all.
        if header.flags.contains(Flags::TC) {
            return Err(ReplyError::Truncated);
        }
        let end = reader.end().map_err(ReplyError::Malformed)?;
        if end != message.len() {
            return Err(ReplyError::TrailingOctets);
        }
        Ok(reader)
    }
}

/// Why a message is not the reply to a query, or not one to use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ReplyError {
    /// It cannot be read to its end.
    Malformed(MessageError),
    /// It is no response to a query.
    NotAResponse,
    /// It has another ID.
    OtherId,
    /// It has another question, none, several, or the name in another case.
    OtherQuestion,
    /// It is the reply, but not all of it: ask again over TCP.
    Truncated,
    /// Octets follow the message.
    TrailingOctets,
}

impl fmt::Display for ReplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed(error) => return error.fmt(f),
            Self::NotAResponse => "the message is no response to a query",
            Self::OtherId => "the message has another ID",
            Self::OtherQuestion => "the message has another question",
            Self::Truncated => "the reply is truncated",
            Self::TrailingOctets => "octets follow the message",
        })
    }
}

impl Error for ReplyError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Section;
    use crate::name::NameBuf;
    use crate::record::Rcode;
    use std::vec::Vec;

    /// A reply to `query` with one address, after `change`.
    fn reply(query: &Query<'_>, change: impl FnOnce(&mut Header)) -> Vec<u8> {
        let mut buffer = [0; 512];
        let mut header = Header {
            id: query.id,
            flags: Flags::QR | Flags::AA,
            ..Header::default()
        };
        change(&mut header);
        let mut builder = MessageBuilder::new(&mut buffer, header).unwrap();
        builder
            .push_question(query.name, query.record_type, query.class)
            .unwrap();
        let (section, rdata) = (Section::Answer, [192, 0, 2, 1]);
        let (name, class) = (query.name, RecordClass::IN);
        builder
            .push_record(section, name, RecordType::A, class, 60, &rdata)
            .unwrap();
        let length = builder.finish();
        buffer[..length].to_vec()
    }

    fn with_query(test: impl FnOnce(Query<'_>)) {
        let name = NameBuf::from_text("wWw.example").unwrap();
        test(Query::new(7, name.as_name(), RecordType::A));
    }

    #[test]
    fn reply_is_taken_and_read() {
        with_query(|query| {
            let octets = reply(&query, |_| ());
            let reader = query.accept(&octets).unwrap();
            let record = reader.records().next().unwrap().unwrap();
            assert_eq!(record.rdata(&mut [0; 4]), Ok(&[192, 0, 2, 1][..]));
        });
    }

    #[test]
    fn nxdomain_is_not_believed_before_the_question_is_checked() {
        with_query(|query| {
            let octets = reply(&query, |header| header.rcode = Rcode::NXDOMAIN);
            assert!(query.accept(&octets).is_ok());
            let other = Query {
                record_type: RecordType::AAAA,
                ..query
            };
            assert_eq!(
                other.accept(&octets).unwrap_err(),
                ReplyError::OtherQuestion
            );
            let class = Query {
                class: RecordClass::CH,
                ..query
            };
            assert_eq!(
                class.accept(&octets).unwrap_err(),
                ReplyError::OtherQuestion
            );
            let name = NameBuf::from_text("www.example").unwrap();
            let case = Query {
                name: name.as_name(),
                ..query
            };
            assert_eq!(case.accept(&octets).unwrap_err(), ReplyError::OtherQuestion);
            let mut bare = octets[..12].to_vec();
            bare[4..12].fill(0);
            assert_eq!(query.accept(&bare).unwrap_err(), ReplyError::OtherQuestion);
            let mut two = octets.clone();
            two[5] = 2;
            assert_eq!(query.accept(&two).unwrap_err(), ReplyError::OtherQuestion);
        });
    }

    #[test]
    fn truncated_answers_are_not_used_as_whole() {
        with_query(|query| {
            let octets = reply(&query, |header| header.flags |= Flags::TC);
            assert_eq!(query.accept(&octets).unwrap_err(), ReplyError::Truncated);
        });
    }

    #[test]
    fn messages_that_are_no_reply_are_told_apart() {
        with_query(|query| {
            let other_id = reply(&query, |header| header.id = 8);
            assert_eq!(query.accept(&other_id).unwrap_err(), ReplyError::OtherId);
            let question = reply(&query, |header| header.flags = Flags::AA);
            assert_eq!(
                query.accept(&question).unwrap_err(),
                ReplyError::NotAResponse
            );
            let notify = reply(&query, |header| header.opcode = Opcode::NOTIFY);
            assert_eq!(query.accept(&notify).unwrap_err(), ReplyError::NotAResponse);
            let mut octets = reply(&query, |_| ());
            for length in 0..octets.len() {
                assert!(query.accept(&octets[..length]).is_err());
            }
            octets.push(0);
            assert_eq!(
                query.accept(&octets).unwrap_err(),
                ReplyError::TrailingOctets
            );
        });
    }
}
