//! Static files from any store (`mirage_core::kv`).
//!
//! | item | what it is |
//! | --- | --- |
//! | [`Files`] | a site: a store, and how it is served |
//! | [`FileAnswer`] | what is to be answered to one request |
//! | [`FilePiece`] | what the content consists of: octets of the store, and what goes between ranges |
//!
//! A file `NAME` may have variants that were compressed before, `NAME.br` and `NAME.gz`: a client that takes one gets it, with an
//! entity tag of its own. Everything is read through [`Kv`], whose values are sent from where they lie.

use core::fmt;

use mirage_core::kv::{Digest, EntryKind, Key, Kv, KvError};

use crate::condition::{Outcome, Validators, evaluate};
use crate::date::HttpDate;
use crate::etag::EntityTag;
use crate::field::FieldName;
use crate::head::RequestHead;
use crate::media_type::media_type;
use crate::method::Method;
use crate::negotiate::{AcceptedCodings, Coding};
use crate::range::{ByteRange, Multipart, RangeSet, Selection, Unsatisfied};
use crate::server::{ContentLength, ResponseWriter};
use crate::status::Status;
use crate::target::Path;

/// How a store is served as a site.
#[derive(Clone, Copy, Debug)]
pub struct Files<'k, K> {
    store: &'k K,
    index: &'k str,
    cache_control: Option<&'k str>,
    fields: &'k [(&'k str, &'k str)],
    has_variants: bool,
}

impl<'k, K: Kv> Files<'k, K> {
    /// A site: a folder's page is its `index.html`, and variants are looked for.
    pub const fn new(store: &'k K) -> Self {
        Self {
            store,
            index: "index.html",
            cache_control: None,
            fields: &[],
            has_variants: true,
        }
    }

    /// With another name for a folder's page.
    pub const fn with_index(self, index: &'k str) -> Self {
        Self { index, ..self }
    }

    /// With a field Cache-Control (RFC 9111 §5.2).
    pub const fn with_cache_control(self, cache_control: &'k str) -> Self {
        Self {
            cache_control: Some(cache_control),
            ..self
        }
    }

    /// With further fields, which go with each file (and with 304): what a browser is to allow it, say.
    pub const fn with_fields(self, fields: &'k [(&'k str, &'k str)]) -> Self {
        Self { fields, ..self }
    }

    /// Without variants: two look-ups less a request.
    pub const fn without_variants(self) -> Self {
        Self {
            has_variants: false,
            ..self
        }
    }

    /// The store.
    pub fn store(&self) -> &'k K {
        self.store
    }

    /// What is to be answered to a request for `path`. `room` holds the file's key: as many octets as the path has, and those of the
    /// index's name, and three. Where it is too small nothing is found.
    ///
    /// # Errors
    ///
    /// The store's: answer 500.
    pub async fn answer<'r>(
        &self,
        head: &RequestHead<'_>,
        path: Path<'_>,
        now: Option<HttpDate>,
        room: &'r mut [u8],
    ) -> Result<FileAnswer<'r>, K::Error>
    where
        'k: 'r,
    {
        if !matches!(head.method(), Method::Get | Method::Head) {
            return Ok(FileAnswer::without(Status::METHOD_NOT_ALLOWED));
        }
        let Ok(key) = path.key() else {
            return Ok(FileAnswer::without(Status::NOT_FOUND));
        };
        let mut name = Name { room, length: 0 };
        let mut fits = name.push(key.as_str());
        if path.is_folder() {
            fits &= key.is_root() || name.push("/");
            fits &= name.push(self.index);
        }
        if !fits {
            return Ok(FileAnswer::without(Status::NOT_FOUND));
        }
        match found(self.store.exists(name.key()).await)?.flatten() {
            Some(EntryKind::Value) => {}
            Some(EntryKind::Dictionary) if !path.is_folder() => {
                return Ok(FileAnswer::without(Status::PERMANENT_REDIRECT));
            }
            _ => return Ok(FileAnswer::without(Status::NOT_FOUND)),
        }
        let content_type = media_type(name.as_str());
        let (coding, has_variants) = self.choose(head, &mut name).await?;
        if !name.push(coding.suffix()) {
            return Ok(FileAnswer::without(Status::NOT_FOUND));
        }
        self.representation(head, name, now, content_type, coding, has_variants)
            .await
    }

    /// The coding that is sent, and whether there is a choice at all.
    async fn choose(
        &self,
        head: &RequestHead<'_>,
        name: &mut Name<'_>,
    ) -> Result<(Coding, bool), K::Error> {
        let mut there = [false; 2];
        if self.has_variants {
            for (there, coding) in there.iter_mut().zip([Coding::Brotli, Coding::Gzip]) {
                let plain = name.length;
                if name.push(coding.suffix()) {
                    let exists = found(self.store.exists(name.key()).await)?;
                    *there = exists.flatten() == Some(EntryKind::Value);
                }
                name.length = plain;
            }
        }
        let [brotli, gzip] = there;
        if !brotli && !gzip {
            return Ok((Coding::Identity, false));
        }
        let coding = AcceptedCodings::new(&head.fields()).choose(|coding| match coding {
            Coding::Identity => true,
            Coding::Gzip => gzip,
            Coding::Brotli => brotli,
        });
        Ok((coding, true))
    }

    async fn representation<'r>(
        &self,
        head: &RequestHead<'_>,
        name: Name<'r>,
        now: Option<HttpDate>,
        content_type: &'static str,
        coding: Coding,
        has_variants: bool,
    ) -> Result<FileAnswer<'r>, K::Error>
    where
        'k: 'r,
    {
        let size = found(self.store.size(name.key()).await)?;
        let digest = found(self.store.digest(name.key()).await)?;
        let modified = found(self.store.last_modified(name.key()).await)?;
        let (Some(size), Some(digest), Some(modified)) = (size, digest, modified) else {
            // It was there, and is gone.
            return Ok(FileAnswer::without(Status::NOT_FOUND));
        };
        let mut answer = FileAnswer {
            status: Status::OK,
            key: Some(name.into_key()),
            size,
            content_type,
            coding,
            has_variants,
            digest: Some(digest),
            tag: Tag::new(&digest),
            last_modified: modified.map(HttpDate::from_wall),
            cache_control: self.cache_control,
            fields: self.fields,
            parts: None,
        };
        let validators = Validators {
            etag: answer.tag.as_entity_tag(),
            last_modified: answer.last_modified,
            now,
        };
        let outcome = evaluate(head, Some(&validators));
        match outcome {
            Outcome::Go | Outcome::GoWithoutRange => {}
            Outcome::NotModified => answer.status = Status::NOT_MODIFIED,
            Outcome::PreconditionFailed => answer.status = Status::PRECONDITION_FAILED,
        }
        // Ranges are defined for GET alone (RFC 9110 §14.2).
        if outcome == Outcome::Go
            && head.method() == Method::Get
            && let Some(value) = head.fields().single(FieldName::Range)
        {
            match Selection::new(value, size) {
                Selection::Whole => {}
                Selection::Parts(parts) => {
                    answer.status = Status::PARTIAL_CONTENT;
                    answer.parts = Some(parts);
                }
                Selection::Unsatisfiable => answer.status = Status::RANGE_NOT_SATISFIABLE,
            }
        }
        Ok(answer)
    }
}

/// What the store says of a key; `None` where it has nothing of the kind.
fn found<T, E>(result: Result<T, KvError<E>>) -> Result<Option<T>, E> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(KvError::Store(error)) => Err(error),
        Err(_) => Ok(None),
    }
}

/// A key that is put together in the caller's room.
struct Name<'r> {
    room: &'r mut [u8],
    length: usize,
}

impl<'r> Name<'r> {
    fn push(&mut self, text: &str) -> bool {
        let end = self.length + text.len();
        match self.room.get_mut(self.length..end) {
            Some(place) => {
                place.copy_from_slice(text.as_bytes());
                self.length = end;
                true
            }
            None => false,
        }
    }

    fn as_str(&self) -> &str {
        core::str::from_utf8(&self.room[..self.length]).unwrap_or_default()
    }

    fn key(&self) -> Key<'_> {
        Key::new(self.as_str()).unwrap_or(Key::ROOT)
    }

    fn into_key(self) -> Key<'r> {
        let room: &'r [u8] = self.room;
        let name = core::str::from_utf8(&room[..self.length]).unwrap_or_default();
        Key::new(name).unwrap_or(Key::ROOT)
    }
}

/// The entity tag made of a digest, as it stands in a field: its hexadecimal digits between quotes.
#[derive(Clone, Copy, Debug)]
struct Tag {
    text: [u8; 2 * Digest::MAX_LEN + 2],
    length: u8,
}

impl Tag {
    const NONE: Self = Self {
        text: [b'"'; 2 * Digest::MAX_LEN + 2],
        length: 0,
    };

    fn new(digest: &Digest) -> Self {
        let mut tag = Self::NONE;
        tag.length = 2;
        let (places, _) = tag.text[1..].as_chunks_mut::<2>();
        for (octet, place) in digest.as_bytes().iter().zip(places) {
            let digit = |number: u8| b"0123456789abcdef"[usize::from(number & 15)];
            *place = [digit(octet >> 4), digit(*octet)];
            tag.length += 2;
        }
        tag
    }

    /// As it stands in a field; empty where there is none.
    fn as_field(&self) -> &[u8] {
        &self.text[..usize::from(self.length)]
    }

    fn as_entity_tag(&self) -> Option<EntityTag<'_>> {
        EntityTag::parse(self.as_field())
    }
}

/// What is to be answered to a request for a file.
#[derive(Clone, Copy, Debug)]
pub struct FileAnswer<'r> {
    status: Status,
    key: Option<Key<'r>>,
    size: u64,
    content_type: &'static str,
    coding: Coding,
    has_variants: bool,
    digest: Option<Digest>,
    tag: Tag,
    last_modified: Option<HttpDate>,
    cache_control: Option<&'r str>,
    fields: &'r [(&'r str, &'r str)],
    parts: Option<RangeSet>,
}

/// A piece of a file's content, as it is sent.
#[derive(Clone, Copy, Debug)]
pub enum FilePiece<'a> {
    /// What goes before a part, of several.
    Before(Multipart<'a>, ByteRange),
    /// Octets of the value of [`FileAnswer::key`].
    Octets(ByteRange),
    /// What goes behind the last part.
    End(Multipart<'a>),
}

impl fmt::Display for FilePiece<'_> {
    /// What is sent beside the file's own octets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Before(multipart, range) => multipart.before(*range).fmt(f),
            Self::Octets(_) => Ok(()),
            Self::End(multipart) => multipart.end().fmt(f),
        }
    }
}

impl<'r> FileAnswer<'r> {
    fn without(status: Status) -> Self {
        Self {
            status,
            key: None,
            size: 0,
            content_type: "",
            coding: Coding::Identity,
            has_variants: false,
            digest: None,
            tag: Tag::NONE,
            last_modified: None,
            cache_control: None,
            fields: &[],
            parts: None,
        }
    }

    /// The status: 200, 206, 304, 308 (a folder without the `/` at its end), 404, 405, 412 or 416.
    pub fn status(&self) -> Status {
        self.status
    }

    /// The key of what is sent, where something is: that of a variant, where one was chosen.
    pub fn key(&self) -> Option<Key<'r>> {
        match self.has_content() {
            true => self.key,
            false => None,
        }
    }

    /// The coding that was chosen.
    pub fn coding(&self) -> Coding {
        self.coding
    }

    /// Whether octets of the file are the content: else the content is the owner's, for an error, or none.
    pub fn has_content(&self) -> bool {
        matches!(self.status, Status::OK | Status::PARTIAL_CONTENT)
    }

    /// How long the content is.
    pub fn content_length(&self) -> ContentLength {
        ContentLength::Known(match (self.has_content(), &self.parts) {
            (false, _) => 0,
            (true, None) => self.size,
            (true, Some(parts)) => match parts.as_slice() {
                [range] => range.length,
                _ => self.multipart().length(parts),
            },
        })
    }

    /// Writes the fields that go with it.
    pub fn write_fields(&self, head: &RequestHead<'_>, response: &mut ResponseWriter<'_, '_, '_>) {
        match self.status {
            Status::METHOD_NOT_ALLOWED => {
                response.field("allow", b"GET, HEAD");
                return;
            }
            Status::PERMANENT_REDIRECT => {
                let target = head.parse_target().ok();
                let path = target.map(|target| target.raw_path()).unwrap_or("/");
                let query = target.and_then(|target| target.query());
                response.display(FieldName::Location, Folder { path, query });
                return;
            }
            Status::RANGE_NOT_SATISFIABLE => {
                response.display(FieldName::ContentRange, Unsatisfied(self.size));
                return;
            }
            Status::OK | Status::PARTIAL_CONTENT | Status::NOT_MODIFIED => {}
            _ => return,
        }
        if !self.tag.as_field().is_empty() {
            response.field("etag", self.tag.as_field());
        }
        if let Some(date) = self.last_modified {
            response.field("last-modified", &date.format());
        }
        if let Some(cache_control) = self.cache_control {
            response.field("cache-control", cache_control.as_bytes());
        }
        for (name, value) in self.fields {
            response.field(name, value.as_bytes());
        }
        if self.has_variants {
            response.field("vary", b"accept-encoding");
        }
        if self.status == Status::NOT_MODIFIED {
            return;
        }
        if let Some(name) = self.coding.name() {
            response.field("content-encoding", name.as_bytes());
        }
        let parts = self.parts.as_ref().map(RangeSet::as_slice);
        match parts {
            Some([range]) => {
                response.field("content-type", self.content_type.as_bytes());
                response.display(FieldName::ContentRange, range.content_range(self.size));
            }
            Some(_) => {
                response.display(FieldName::ContentType, self.multipart().content_type());
            }
            None => {
                response.field("content-type", self.content_type.as_bytes());
                response.field("accept-ranges", b"bytes");
            }
        }
    }

    /// The pieces of the content, in order.
    pub fn pieces(&self) -> impl Iterator<Item = FilePiece<'_>> {
        let whole = ByteRange {
            start: 0,
            length: self.size,
        };
        let multipart = self.multipart();
        let (ranges, several) = match (&self.parts, self.has_content()) {
            (_, false) => (&[][..], false),
            (None, true) => (&[][..], false),
            (Some(parts), true) => (parts.as_slice(), parts.as_slice().len() > 1),
        };
        let whole = (self.has_content() && self.parts.is_none() && self.size > 0)
            .then_some(FilePiece::Octets(whole));
        let parts = ranges.iter().flat_map(move |range| {
            let before = several.then_some(FilePiece::Before(multipart, *range));
            before.into_iter().chain([FilePiece::Octets(*range)])
        });
        let end = several.then_some(FilePiece::End(multipart));
        whole.into_iter().chain(parts).chain(end)
    }

    fn multipart(&self) -> Multipart<'_> {
        let digest = self.digest.as_ref().map(Digest::as_bytes);
        Multipart::new(digest.unwrap_or_default(), self.content_type, self.size)
    }
}

/// A folder's path with the `/` that was missing.
struct Folder<'a> {
    path: &'a str,
    query: Option<&'a str>,
}

impl fmt::Display for Folder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/", self.path)?;
        match self.query {
            Some(query) => write!(f, "?{query}"),
            None => Ok(()),
        }
    }
}
