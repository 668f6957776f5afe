//! An authoritative DNS server as a pure function: request and zones in, answer out.
//!
//! The crate takes and gives octets: it knows no socket, no clock and no file, and so runs over any stack. It has no
//! `unsafe` code, needs no allocator to serve, and no work that it does for one query grows with the zones. Each module
//! opens with a table of what is in it.
//!
//! | to … | see |
//! |------|-----|
//! | answer queries | [`server`]: [`Server::answer`](server::Server::answer), or the function [`respond`](server::respond) alone |
//! | serve streams | [`tcp`]: [`FrameReader`](tcp::FrameReader) |
//! | have zones to answer from | [`zone_set`]: [`ZoneSet::from_bytes`](zone_set::ZoneSet::from_bytes), over an image that was compiled earlier |
//! | compile zones | `zone_compiler` (feature `alloc`), from a build script `build` (feature `std`), from records of one's own `zone_set::ZoneSetBuilder` |
//! | read master files | [`master_file`] |
//! | read and write messages | [`message`] |
//! | ask | [`client`] |
//! | tell what changed in a zone, and remember it | `difference`, `journal` (feature `alloc`) |
//! | serve zones that change | `authority` (feature `alloc`) |
//! | transfer zones, tell of changes, refresh secondary zones | `transfer`, `notify`, `secondary` (feature `alloc`) |
//! | sign messages, know whose a request is | [`tsig`] |
//! | change a zone by messages | `update` (feature `alloc`) |
//! | handle names, types, rdata, serial numbers, address ranges | [`name`], [`record`], [`serial`], [`network`] |
//!
//! ```
//! # #[cfg(feature = "alloc")]
//! # fn main() -> Result<(), Box<dyn core::error::Error>> {
//! use mirage_dns::client::Query;
//! use mirage_dns::master_file::{NoFiles, Source};
//! use mirage_dns::name::NameBuf;
//! use mirage_dns::record::{Rcode, RecordType};
//! use mirage_dns::server::{Client, Limits, Server, Transport};
//! use mirage_dns::zone_compiler::ZoneCompiler;
//! use mirage_dns::zone_set::ZoneSet;
//!
//! // Once, when the appliance is built:
//! let text = b"$ORIGIN example.org.\n$TTL 1h\n@ SOA ns root 1 2h 30m 4w 5m\n@ NS ns\nns A 192.0.2.53\n";
//! let mut compiler = ZoneCompiler::new();
//! compiler.add_zone(Source { name: "example.zone", text }, &NoFiles);
//! let image = compiler.finish()?.image;
//!
//! // When it runs:
//! let zones = ZoneSet::from_bytes(&image)?;
//! let server = Server::new(Limits::default());
//!
//! // For each request, whose sender, time and transport the caller knows:
//! let client = Client { address: [192, 0, 2, 1].into(), transport: Transport::Udp, now: 0 };
//! let name = NameBuf::from_text("ns.example.org")?;
//! let query = Query::new(7, name.as_name(), RecordType::A);
//! let (mut request, mut response) = ([0; 512], [0; 1232]);
//! let length = query.write(&mut request)?;
//! let length = server.answer(&zones, &request[..length], &client, &mut response);
//! let reply = query.accept(&response[..length.expect("a query is answered")])?;
//! assert_eq!((reply.header().rcode, reply.header().answer_count), (Rcode::NOERROR, 1));
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "alloc"))]
//! # fn main() {}
//! ```
//!
//! # Features
//!
//! - none: reading and writing messages, serving compiled zones, parsing master files; no allocator.
//! - `alloc`: compiling zones.
//! - `std`: reading master files from a file system, and the helper for build scripts.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(any(test, feature = "std"))]
extern crate std;

#[cfg(feature = "alloc")]
pub mod authority;
#[cfg(feature = "std")]
pub mod build;
pub mod client;
#[cfg(feature = "alloc")]
pub mod difference;
#[cfg(feature = "alloc")]
pub mod journal;
pub mod master_file;
pub mod message;
pub mod name;
pub mod network;
#[cfg(feature = "alloc")]
pub mod notify;
pub mod record;
#[cfg(feature = "alloc")]
pub mod secondary;
pub mod serial;
pub mod server;
pub mod tcp;
#[cfg(feature = "alloc")]
pub mod transfer;
pub mod tsig;
#[cfg(feature = "alloc")]
pub mod update;
#[cfg(feature = "alloc")]
pub mod zone_compiler;
pub mod zone_set;

/// The README's example, as a test.
#[cfg(all(doctest, feature = "std"))]
#[doc = include_str!("../README.md")]
pub struct Readme;
