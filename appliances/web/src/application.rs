//! What is answered to a request.

use mirage_core::kv::CompiledStore;
use mirage_http::files::Files;
use mirage_http::head::RequestHead;
use mirage_http::io::{Application, Exchange, ServeError, Stream, Timer};
use mirage_http::router::{Decision, Route, Router};
use mirage_http::server::{ContentLength, ResponseWriter};
use mirage_http::target::{PathError, Target};
use mirage_http::{Path, Status};

use crate::service::Service;
use crate::{LIVE, live};

/// Octets of the longest path, decoded; a longer one is of no file.
const PATH: usize = 512;
/// The same of two keys: each with an index's name, and one with a variant's end.
const KEYS: usize = 2 * (PATH + 16);

/// A browser is to believe the media types, and to ask again before it shows what it kept.
const OF_THE_SITE: &[(&str, &str)] = &[("x-content-type-options", "nosniff")];

/// The live page's own script and style, its own events, and nothing else from anywhere.
const OF_THE_LIVE_PAGE: &[(&str, &str)] = &[
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
];

#[derive(Clone, Copy)]
enum Part {
    Events,
    Metrics,
    File,
}

const ROUTES: &[Route<'_, Part>] = &[
    Route::get("/_mirage/events", Part::Events),
    Route::get("/_mirage/metrics", Part::Metrics),
    Route::get("/_mirage", Part::File),
    Route::get("/_mirage/*", Part::File),
];

/// A response that says nothing but what it is.
pub(crate) struct Brief {
    pub(crate) status: Status,
    pub(crate) fields: &'static [(&'static str, &'static [u8])],
    pub(crate) text: &'static [u8],
}

/// With the methods that there are: all that there is, is for these two.
const NOT_ALLOWED: Brief = Brief {
    status: Status::METHOD_NOT_ALLOWED,
    fields: &[("allow", b"GET, HEAD")],
    text: b"",
};

/// There is no room.
const FULL: Brief = Brief {
    status: Status::SERVICE_UNAVAILABLE,
    fields: &[
        ("retry-after", b"1"),
        ("content-type", b"text/plain; charset=utf-8"),
    ],
    text: b"All places are taken: try again in a moment.\n",
};

/// Who answers the requests of a connection. One type, and not two: a connection's code is in the program once then.
pub(crate) enum Answering<'s> {
    /// The service.
    Service(&'s Service<'s>),
    /// Nobody, as all places are taken.
    Full,
}

/// What a request is answered with.
enum Answer<'a> {
    Events(&'a Service<'a>),
    Metrics(&'a Service<'a>),
    File(Files<'a, CompiledStore>, Path<'a>),
    Status(Status),
    Brief(&'static Brief),
}

impl<'s> Answering<'s> {
    #[inline(never)]
    fn route<'a>(&self, head: &RequestHead<'a>, decoded: &'a mut [u8]) -> Answer<'a>
    where
        's: 'a,
    {
        let service: &'a Service<'_> = match self {
            Self::Service(service) => service,
            Self::Full => return Answer::Brief(&FULL),
        };
        let Ok(target) = head.parse_target() else {
            return Answer::Status(Status::BAD_REQUEST);
        };
        if target == Target::Asterisk {
            // OPTIONS alone has it (RFC 9112 §3.2.4): what the server can do at all.
            return Answer::Brief(&NOT_ALLOWED);
        }
        let path = match target.path(decoded) {
            Ok(path) => path,
            // Longer than any file's.
            Err(PathError::TooLong) => return Answer::Status(Status::NOT_FOUND),
            Err(_) => return Answer::Status(Status::BAD_REQUEST),
        };
        if !service.has_live_page() || path.below("/_mirage").is_none() {
            let files = Files::new(service.site()).with_fields(OF_THE_SITE);
            return Answer::File(files.with_cache_control("no-cache"), path);
        }
        match Router::new(ROUTES).route(head.method(), path) {
            Decision::Found { target, .. } => match target {
                Part::Events => Answer::Events(service),
                Part::Metrics => Answer::Metrics(service),
                Part::File => {
                    let files = Files::new(&LIVE).with_fields(OF_THE_LIVE_PAGE);
                    Answer::File(files.with_cache_control("no-cache"), path)
                }
            },
            Decision::MethodNotAllowed(_) => Answer::Brief(&NOT_ALLOWED),
            Decision::NotFound => Answer::Status(Status::NOT_FOUND),
        }
    }
}

impl Application for Answering<'_> {
    async fn answer<S: Stream, T: Timer>(
        &self,
        head: RequestHead<'_>,
        exchange: &mut Exchange<'_, '_, S, T>,
    ) -> Result<(), ServeError<S::Error>> {
        let (mut decoded, mut key) = ([0; PATH], [0; KEYS]);
        match self.route(&head, &mut decoded) {
            Answer::File(files, path) => exchange.reply_file(&head, &files, path, &mut key).await,
            Answer::Status(status) => exchange.reply_status(status).await,
            Answer::Brief(brief) => reply_briefly(exchange, brief).await,
            Answer::Events(service) => live::events(service, exchange).await,
            Answer::Metrics(service) => live::metrics(service, exchange).await,
        }
    }
}

/// Sends a brief response.
pub(crate) async fn reply_briefly<S: Stream, T: Timer>(
    exchange: &mut Exchange<'_, '_, S, T>,
    brief: &'static Brief,
) -> Result<(), ServeError<S::Error>> {
    let fields = |response: &mut ResponseWriter<'_, '_, '_>| {
        for (name, value) in brief.fields {
            response.field(name, value);
        }
    };
    let length = ContentLength::Known(brief.text.len() as u64);
    exchange.begin(brief.status, length, fields).await?;
    exchange.send(brief.text).await?;
    exchange.finish().await
}
