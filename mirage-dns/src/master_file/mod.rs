//! Master files: the text form of zones (RFC 1035 §5).
//!
//! | type | what it is |
//! |------|------------|
//! | [`Parser`] | takes records one by one out of a [`Source`] and the files that it includes |
//! | [`Record`] | one of them: owner, TTL, class, type, data in wire form, and where it stands |
//! | [`ParseError`] | file, line, column, what was expected and what was found |
//! | [`Loader`] | finds included files: [`NoFiles`], a slice of [`Source`]s, or the `std` feature's `FileSystemLoader` |
//! | [`Limits`] | how deep and how often files are included, and how many records are generated |
//!
//! Nothing is allocated: a record's data goes into a buffer of the caller's, everything else points into the source.
//! The work is bounded by the length of the sources, each taken as often as it is included, and by the records that
//! `$GENERATE`s make; those numbers have limits.
//!
//! What is read, and where the choice was ours:
//!
//! - All of RFC 1035 §5.1: `$ORIGIN`, `$INCLUDE file [origin]`, parentheses over lines (they may nest), quoted strings
//!   (also over lines), comments, `\X` and `\DDD`, `@`, relative names, an omitted owner, TTL and class omitted or in
//!   either order. Lines end in LF or CR LF; the last may lack it. Octets above 127 stand for themselves.
//! - `$TTL` of RFC 2308 §4. A TTL that is left out is that of the last `$TTL`; without one, the last TTL that was
//!   stated; without one too, the SOA record's MINIMUM, as RFC 1035 §3.3.13 has it and its example in §5.3 needs it.
//!   A TTL takes units as in BIND (`1h30m`), and so do the times of an SOA record.
//! - `TYPE731`, `CLASS1` and `\# 3 abcdef` of RFC 3597 §5, for types that are known as well: their data is then checked.
//! - An included file's first lines may leave out the owner that was stated before the `$INCLUDE`; behind it, the owner
//!   and the origin are those from before (as BIND). A `$TTL` stays in force.
//! - `$GENERATE start-stop[/step] owner [ttl] [class] type data` as BIND has it: in owner and data `$` stands for the
//!   number, `${offset,width,base}` for one that is written otherwise (base d, o, x or X, or n or N for hexadecimal digits
//!   in reverse order with dots between), `\$` and `$$` for a dollar sign. Data that is one quoted string is read as
//!   what stands in the string (`"10 mail$"`), again as BIND; of several words each is taken as it is. Any type can be
//!   generated. TTL and class that it states hold for its own records alone, and the line behind it states its owner.
//! - Types that are questions or belong to a message (0, 41, and 128 to 255 as RFC 6895 §3.1 divides them) are refused.
//!
//! ```
//! use mirage_dns::master_file::{NoFiles, Parser, Source};
//!
//! let text = b"$ORIGIN example.org.\n$TTL 1h\nwww A 192.0.2.1\n    A 192.0.2.256\n";
//! let source = Source { name: "example.zone", text };
//! let mut parser = Parser::new(source, &NoFiles);
//! let mut data = [0; 512];
//!
//! let www = parser.next_record(&mut data).unwrap().unwrap();
//! assert_eq!(www.owner.to_string(), "www.example.org.");
//! assert_eq!((www.ttl, www.data), (3600, &[192, 0, 2, 1][..]));
//!
//! let error = parser.next_record(&mut data).unwrap_err();
//! assert_eq!(error.to_string(), "example.zone:4:7: expected an IPv4 address, found \"192.0.2.256\"");
//! assert!(parser.next_record(&mut data).unwrap().is_none());
//! ```

mod error;
#[cfg(feature = "std")]
mod file_system;
mod generate;
mod lexer;
mod loader;
mod names;
mod numbers;
mod parser;
mod record_data;

pub use error::{Found, IncludeChain, ParseError};
#[cfg(feature = "std")]
pub use file_system::FileSystemLoader;
pub use lexer::Position;
pub use loader::{LoadError, Loader, NoFiles, Source};
pub use parser::{Limits, Parser, Record};

/// How many files may be open at once below the outermost: the most that [`Limits::include_depth`] can be.
pub const MAX_INCLUDE_DEPTH: usize = 8;

#[cfg(test)]
mod tests;
