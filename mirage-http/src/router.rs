//! A small router: which of an application's parts a request is for.

use core::fmt;

use crate::method::Method;
use crate::target::Path;

/// A row of a route table.
///
/// A pattern is a path of segments; `:name` stands for any one segment that is not empty, a `*` at the end for the rest, empty or
/// not. `/a` and `/a/` are two patterns.
#[derive(Clone, Copy, Debug)]
pub struct Route<'r, T> {
    method: Option<Method<'r>>,
    pattern: &'r str,
    target: T,
}

impl<'r, T> Route<'r, T> {
    /// For requests with a method; one for GET answers HEAD, too.
    pub const fn new(method: Method<'r>, pattern: &'r str, target: T) -> Self {
        Self {
            method: Some(method),
            pattern,
            target,
        }
    }

    /// For GET and HEAD.
    pub const fn get(pattern: &'r str, target: T) -> Self {
        Self::new(Method::Get, pattern, target)
    }

    /// For all methods.
    pub const fn any(pattern: &'r str, target: T) -> Self {
        Self {
            method: None,
            pattern,
            target,
        }
    }

    fn takes(&self, method: Method<'_>) -> bool {
        match self.method {
            None => true,
            Some(Method::Get) if method == Method::Head => true,
            Some(own) => own == method,
        }
    }
}

/// Routes, of which the first that fits is taken. A look-up takes time in proportion to them: it is for some dozens.
///
/// ```
/// use mirage_http::{Method, Path};
/// use mirage_http::router::{Decision, Route, Router};
///
/// let routes = [
///     Route::get("/zones/:zone/serial", 1),
///     Route::new(Method::Post, "/zones/:zone", 2),
///     Route::get("/*", 3),
/// ];
/// let router = Router::new(&routes);
/// let path = Path::decode("/zones/example.org/serial", &mut [])?;
/// let Decision::Found { target, parameters } = router.route(Method::Get, path) else {
///     panic!("there is one");
/// };
/// assert_eq!((*target, parameters.get("zone")), (1, Some("example.org")));
/// # Ok::<(), mirage_http::target::PathError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Router<'r, T> {
    routes: &'r [Route<'r, T>],
}

/// What a router says.
#[derive(Clone, Copy, Debug)]
pub enum Decision<'r, 'p, T> {
    /// This.
    Found {
        /// What the route stands for.
        target: &'r T,
        /// The path's segments that stand for something.
        parameters: Parameters<'r, 'p>,
    },
    /// The path is there, the method isn't: answer 405 with Allow, which displays so.
    MethodNotAllowed(Allow<'r, 'p, T>),
    /// Nothing has this path.
    NotFound,
}

impl<'r, T> Router<'r, T> {
    /// Over these routes.
    pub const fn new(routes: &'r [Route<'r, T>]) -> Self {
        Self { routes }
    }

    /// Which route a request takes.
    pub fn route<'p>(&self, method: Method<'_>, path: Path<'p>) -> Decision<'r, 'p, T> {
        let mut known = false;
        for route in self.routes {
            if !fits(route.pattern, path) {
                continue;
            }
            if route.takes(method) {
                return Decision::Found {
                    target: &route.target,
                    parameters: Parameters {
                        pattern: route.pattern,
                        path,
                    },
                };
            }
            known = true;
        }
        match known {
            true => Decision::MethodNotAllowed(Allow {
                routes: self.routes,
                path,
            }),
            false => Decision::NotFound,
        }
    }
}

fn fits(pattern: &str, path: Path<'_>) -> bool {
    let mut segments = path.segments();
    for part in pattern_segments(pattern) {
        if part == "*" {
            return segments.next().is_some();
        }
        match segments.next() {
            Some(segment) if part.starts_with(':') && !segment.is_empty() => {}
            Some(segment) if part == segment => {}
            _ => return false,
        }
    }
    segments.next().is_none()
}

fn pattern_segments(pattern: &str) -> impl Iterator<Item = &str> {
    pattern.strip_prefix('/').unwrap_or(pattern).split('/')
}

/// The segments of a path that a pattern has names for.
#[derive(Clone, Copy, Debug)]
pub struct Parameters<'r, 'p> {
    pattern: &'r str,
    path: Path<'p>,
}

impl<'p> Parameters<'_, 'p> {
    /// The segment that `:name` stands for.
    pub fn get(&self, name: &str) -> Option<&'p str> {
        pattern_segments(self.pattern)
            .zip(self.path.segments())
            .find(|(part, _)| part.strip_prefix(':') == Some(name))
            .map(|(_, segment)| segment)
    }

    /// What `*` stands for, without a `/` before it.
    pub fn rest(&self) -> Option<&'p str> {
        let fixed = pattern_segments(self.pattern).position(|part| part == "*")?;
        let mut rest = self.path.as_str().get(1..)?;
        for _ in 0..fixed {
            (_, rest) = rest.split_once('/')?;
        }
        Some(rest)
    }
}

/// The methods that there are for a path, as Allow lists them (RFC 9110 §10.2.1).
#[derive(Clone, Copy, Debug)]
pub struct Allow<'r, 'p, T> {
    routes: &'r [Route<'r, T>],
    path: Path<'p>,
}

impl<T> fmt::Display for Allow<'_, '_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fitting = self
            .routes
            .iter()
            .filter(|route| fits(route.pattern, self.path));
        let mut separator = "";
        for (number, method) in fitting.clone().filter_map(|route| route.method).enumerate() {
            let mut before = fitting
                .clone()
                .filter_map(|route| route.method)
                .take(number);
            if before.any(|other| other == method) {
                continue;
            }
            write!(f, "{separator}{method}")?;
            if method == Method::Get {
                f.write_str(", HEAD")?;
            }
            separator = ", ";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::{String, ToString};

    const ROUTES: &[Route<'static, u8>] = &[
        Route::get("/", 0),
        Route::get("/a", 1),
        Route::new(Method::Post, "/a", 2),
        Route::get("/a/:x/b/:y", 3),
        Route::any("/files/*", 4),
        Route::get("/a/", 5),
    ];

    fn route(method: Method<'_>, path: &str) -> Result<u8, String> {
        let path = Path::decode(path, &mut []).unwrap();
        match Router::new(ROUTES).route(method, path) {
            Decision::Found { target, .. } => Ok(*target),
            Decision::MethodNotAllowed(allow) => Err(allow.to_string()),
            Decision::NotFound => Err(String::new()),
        }
    }

    #[test]
    fn paths_and_methods_choose() {
        assert_eq!(route(Method::Get, "/"), Ok(0));
        assert_eq!(route(Method::Get, "/a"), Ok(1));
        assert_eq!(route(Method::Head, "/a"), Ok(1));
        assert_eq!(route(Method::Post, "/a"), Ok(2));
        assert_eq!(route(Method::Get, "/a/"), Ok(5));
        assert_eq!(route(Method::Get, "/a/1/b/2"), Ok(3));
        assert_eq!(route(Method::Delete, "/files/"), Ok(4));
        assert_eq!(route(Method::Delete, "/files/a/b"), Ok(4));
        for path in [
            "/b",
            "/a/1",
            "/a/1/b/",
            "/a//b/2",
            "/files",
            "/a/1/b/2/3",
            "//",
        ] {
            assert_eq!(route(Method::Get, path), Err(String::new()), "{path}");
        }
        assert_eq!(route(Method::Put, "/a"), Err("GET, HEAD, POST".into()));
    }

    #[test]
    fn parameters_have_names() {
        let path = Path::decode("/a/1/b/2", &mut []).unwrap();
        let Decision::Found { parameters, .. } = Router::new(ROUTES).route(Method::Get, path)
        else {
            panic!("a route");
        };
        assert_eq!(
            (parameters.get("x"), parameters.get("y")),
            (Some("1"), Some("2"))
        );
        assert_eq!((parameters.get("z"), parameters.rest()), (None, None));
        let path = Path::decode("/files/a/b", &mut []).unwrap();
        let Decision::Found { parameters, .. } = Router::new(ROUTES).route(Method::Get, path)
        else {
            panic!("a route");
        };
        assert_eq!(parameters.rest(), Some("a/b"));
    }
}
