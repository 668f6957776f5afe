//! HTTP/1.1 as pure state machines: server, client and static files.
//!
//! By RFC 9110 and RFC 9112, over any stack: the crate takes and gives octets, and knows no socket. It has no `unsafe` code, and
//! needs no allocator. Heads are read in one pass where they lie, fields are views of the caller's octets, bodies are told apart
//! from their coding without being moved. Everything has a bound, and what two parsers could read in two ways is refused. Each
//! module opens with a table of what is in it.
//!
//! | to … | see |
//! | --- | --- |
//! | serve a connection | [`server`]: [`Server`](server::Server), [`ServerConnection`](server::ServerConnection) |
//! | ask a server | [`client`]: [`ClientConnection`](client::ClientConnection) |
//! | compile a site in | `site_compiler`, `build` (feature `std`) |
//! | serve files | [`files`]: [`Files`](files::Files) over any [`Kv`](mirage_core::kv::Kv) |
//! | do either over an asynchronous stream | `io` (feature `io`) |
//! | tell requests apart | [`router`], [`target`] |
//! | answer conditions and ranges, choose a coding | [`condition`], [`range`], [`negotiate`] |
//! | read and write heads, bodies, chunks | [`head`], [`field`], [`framing`], [`body`], [`chunked`] |
//! | handle dates, entity tags, media types | [`HttpDate`], [`EntityTag`], [`media_type`] |
//!
//! ```
//! use mirage_core::Instant;
//! use mirage_http::Status;
//! use mirage_http::field::FieldSlot;
//! use mirage_http::server::{ContentLength, Limits, Server, ServerEvent};
//!
//! static PAGE: &[u8] = b"<h1>It works</h1>";
//!
//! let (server, now) = (Server::new(Limits::DEFAULT), Instant::ZERO);
//! let mut connection = server.connect(now);
//! let (mut slots, mut out) = ([FieldSlot::EMPTY; 32], [0; 512]);
//!
//! let input = b"GET /index.html HTTP/1.1\r\nHost: example.org\r\n\r\n";
//! match connection.handle_input(input, &mut slots, now) {
//!     ServerEvent::Request { head, .. } => {
//!         assert_eq!(head.target(), "/index.html");
//!         let mut response = connection.respond(&mut out, Status::OK).ok_or("no request")?;
//!         response.field("content-type", b"text/html");
//!         let length = response.finish(ContentLength::Known(PAGE.len() as u64), now)?;
//!         // `out[..length]` and PAGE, from where it lies, go to the stream.
//!         assert!(out[..length].starts_with(b"HTTP/1.1 200 OK\r\n"));
//!         connection.handle_sent(PAGE.len() as u64, now)?;
//!     }
//!     other => panic!("{other:?}"),
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Features
//!
//! - none: all of it but
//! - `io`: asynchronous shells over `embedded-io-async` streams;
//! - `std`: the site compiler, for build scripts and hosts.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(any(test, feature = "std"))]
extern crate std;

pub mod body;
#[cfg(feature = "std")]
pub mod build;
pub mod chunked;
pub mod client;
pub mod condition;
mod date;
mod etag;
pub mod field;
pub mod files;
pub mod framing;
pub mod head;
#[cfg(feature = "io")]
pub mod io;
mod media_type;
mod method;
pub mod negotiate;
pub mod range;
pub mod router;
mod scan;
pub mod server;
#[cfg(feature = "std")]
pub mod site_compiler;
mod status;
pub mod target;

pub use date::HttpDate;
pub use etag::EntityTag;
pub use media_type::media_type;
pub use method::Method;
pub use status::Status;
pub use target::Path;

/// The README's example, as a test.
#[cfg(all(doctest, feature = "io"))]
#[doc = include_str!("../README.md")]
pub struct Readme;
