//! What is answered to a request.

use mirage_http::files::Files;
use mirage_http::head::RequestHead;
use mirage_http::io::{Application, Exchange, ServeError, Stream, Timer};
use mirage_http::router::{Decision, Route, Router};
use mirage_http::server::ContentLength;
use mirage_http::target::Target;
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

impl Application for &Service<'_> {
    async fn answer<S: Stream, T: Timer>(
        &self,
        head: RequestHead<'_>,
        exchange: &mut Exchange<'_, '_, S, T>,
    ) -> Result<(), ServeError<S::Error>> {
        let (mut decoded, mut key) = ([0; PATH], [0; KEYS]);
        let target = head.parse_target().ok();
        if target == Some(Target::Asterisk) {
            // OPTIONS alone has it (RFC 9112 §3.2.4): what the server can do at all.
            return not_allowed(exchange).await;
        }
        let path = match target.map(|target| target.path(&mut decoded)) {
            Some(Ok(path)) => path,
            // Longer than any file's.
            Some(Err(mirage_http::target::PathError::TooLong)) => {
                return exchange.reply_status(Status::NOT_FOUND).await;
            }
            _ => return exchange.reply_status(Status::BAD_REQUEST).await,
        };
        if self.has_live_page() && path.below("/_mirage").is_some() {
            return self.answer_live(head, path, exchange, &mut key).await;
        }
        let files = Files::new(self.site())
            .with_cache_control("no-cache")
            .with_fields(OF_THE_SITE);
        exchange.reply_file(&head, &files, path, &mut key).await
    }
}

impl Service<'_> {
    async fn answer_live<S: Stream, T: Timer>(
        &self,
        head: RequestHead<'_>,
        path: Path<'_>,
        exchange: &mut Exchange<'_, '_, S, T>,
        key: &mut [u8],
    ) -> Result<(), ServeError<S::Error>> {
        match Router::new(ROUTES).route(head.method(), path) {
            Decision::Found { target, .. } => match target {
                Part::Events => live::events(self, exchange).await,
                Part::Metrics => live::metrics(self, exchange).await,
                Part::File => {
                    let files = Files::new(&LIVE)
                        .with_cache_control("no-cache")
                        .with_fields(OF_THE_LIVE_PAGE);
                    exchange.reply_file(&head, &files, path, key).await
                }
            },
            Decision::MethodNotAllowed(_) => not_allowed(exchange).await,
            Decision::NotFound => exchange.reply_status(Status::NOT_FOUND).await,
        }
    }
}

/// 405, with the methods that there are: all that there is, is for these two.
async fn not_allowed<S: Stream, T: Timer>(
    exchange: &mut Exchange<'_, '_, S, T>,
) -> Result<(), ServeError<S::Error>> {
    let fields = |response: &mut mirage_http::server::ResponseWriter<'_, '_, '_>| {
        response.field("allow", b"GET, HEAD");
    };
    exchange
        .begin(Status::METHOD_NOT_ALLOWED, ContentLength::Known(0), fields)
        .await?;
    exchange.finish().await
}
