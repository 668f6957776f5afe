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

    /// What is to be answered to a request for `path`. `room` holds keys: a folder's page's, as many octets as the path has and the index's
    /// name, and behind it a variant's, three more than the file's. What it is too small for is not found.
    ///
    /// # Errors
    ///
    /// The store's: answer 500.
    pub async fn answer<'r>(
        &self,
        head: &RequestHead<'_>,
        path: Path<'r>,
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
        let (plain, room) = match path.is_folder() {
            false => (key, room),
            true => match page_of(key, self.index, room) {
                Some(page) => page,
                None => return Ok(FileAnswer::without(Status::NOT_FOUND)),
            },
        };
        match found(self.store.exists(plain).await)?.flatten() {
            Some(EntryKind::Value) => {}
            Some(EntryKind::Dictionary) if !path.is_folder() => {
                return Ok(FileAnswer::without(Status::PERMANENT_REDIRECT));
            }
            _ => return Ok(FileAnswer::without(Status::NOT_FOUND)),
        }
        let content_type = media_type(plain.as_str());
        let (coding, has_variants) = self.choose(head, plain, room).await?;
        let key = match coding {
            Coding::Identity => Some(plain),
            coding => plain.with_suffix(coding.suffix(), room),
        };
        match key {
            Some(key) => {
                self.representation(head, key, now, content_type, coding, has_variants)
                    .await
            }
            None => Ok(FileAnswer::without(Status::NOT_FOUND)),
        }
    }

    /// The coding that is sent, and whether there is a choice at all.
    async fn choose(
        &self,
        head: &RequestHead<'_>,
        plain: Key<'_>,
        room: &mut [u8],
    ) -> Result<(Coding, bool), K::Error> {
        let suffixes = [Coding::Brotli, Coding::Gzip].map(Coding::suffix);
        let there = match self.has_variants {
            true => found(self.store.with_suffixes(plain, suffixes, room).await)?,
            false => None,
        };
        let [brotli, gzip] = there.unwrap_or_default();
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
        key: Key<'r>,
        now: Option<HttpDate>,
        content_type: &'static str,
        coding: Coding,
        has_variants: bool,
    ) -> Result<FileAnswer<'r>, K::Error>
    where
        'k: 'r,
    {
        let Some(metadata) = found(self.store.metadata(key).await)? else {
            // It was there, and is gone.
            return Ok(FileAnswer::without(Status::NOT_FOUND));
        };
        let (size, digest) = (metadata.size, metadata.digest);
        let mut answer = FileAnswer {
            status: Status::OK,
            key: Some(key),
            size,
            content_type,
            coding,
            has_variants,
            digest: Some(digest),
            tag: Tag::new(&digest),
            last_modified: metadata.last_modified.map(HttpDate::from_wall),
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

/// The key of a folder's page, put together in the caller's room, and what is left of that.
fn page_of<'r>(
    folder: Key<'_>,
    index: &str,
    room: &'r mut [u8],
) -> Option<(Key<'r>, &'r mut [u8])> {
    let between = if folder.is_root() { "" } else { "/" };
    let parts = [folder.as_str(), between, index];
    let length = parts.iter().map(|part| part.len()).sum();
    let (page, room) = room.split_at_mut_checked(length)?;
    let mut at = 0;
    for part in parts {
        page.get_mut(at..at + part.len())?
            .copy_from_slice(part.as_bytes());
        at += part.len();
    }
    let page = Key::new(core::str::from_utf8(page).ok()?).ok()?;
    Some((page, room))
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
    /// One that has no content.
    pub(crate) fn without(status: Status) -> Self {
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
                response.proper(FieldName::Allow, b"GET, HEAD");
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
            response.proper(FieldName::Etag, self.tag.as_field());
        }
        if let Some(date) = self.last_modified {
            response.proper(FieldName::LastModified, &date.format());
        }
        if let Some(cache_control) = self.cache_control {
            response.known(FieldName::CacheControl, cache_control.as_bytes());
        }
        for (name, value) in self.fields {
            response.field(name, value.as_bytes());
        }
        if self.has_variants {
            response.proper(FieldName::Vary, b"accept-encoding");
        }
        if self.status == Status::NOT_MODIFIED {
            return;
        }
        if let Some(name) = self.coding.name() {
            response.proper(FieldName::ContentEncoding, name.as_bytes());
        }
        let parts = self.parts.as_ref().map(RangeSet::as_slice);
        match parts {
            Some([range]) => {
                response.proper(FieldName::ContentType, self.content_type.as_bytes());
                response.display(FieldName::ContentRange, range.content_range(self.size));
            }
            Some(_) => {
                response.display(FieldName::ContentType, self.multipart().content_type());
            }
            None => {
                response.proper(FieldName::ContentType, self.content_type.as_bytes());
                response.proper(FieldName::AcceptRanges, b"bytes");
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
