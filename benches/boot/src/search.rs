//! The least memory that works, by halving.

use bench_common::report::Error;
use serde::{Deserialize, Serialize};

/// A size that was tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Try {
    pub(crate) memory_mib: u32,
    /// Why it does not work; nothing if it does.
    pub(crate) failure: Option<String>,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) least: u32,
    pub(crate) tried: Vec<Try>,
}

/// Finds the least multiple of `step` up to `most` that works; what is larger than one that works is taken to work, too.
/// `try_it` tells why a size fails.
///
/// # Errors
///
/// If even `most` fails, with its reason; and those of `try_it`.
pub(crate) fn least(
    most: u32,
    step: u32,
    mut try_it: impl FnMut(u32) -> Result<Option<String>, Error>,
) -> Result<Found, Error> {
    let mut tried = Vec::new();
    let mut look = |size: u32| -> Result<Option<String>, Error> {
        let failure = try_it(size * step)?;
        tried.push(Try {
            memory_mib: size * step,
            failure: failure.clone(),
        });
        Ok(failure)
    };
    let (mut fails, mut works) = (0, most / step);
    if let Some(failure) = look(works)? {
        return Err(format!("even with {} MiB: {failure}", works * step).into());
    }
    while works - fails > 1 {
        let middle = u32::midpoint(fails, works);
        match look(middle)? {
            None => works = middle,
            Some(_) => fails = middle,
        }
    }
    Ok(Found {
        least: works * step,
        tried,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_is_found_whichever_it_is() {
        for wanted in 1..=64 {
            let found = least(64, 1, |size| {
                Ok((size < wanted).then(|| "crashed".to_owned()))
            })
            .unwrap();
            assert_eq!(found.least, wanted);
            assert!(found.tried.len() <= 7, "{found:?}");
            // The one below was tried, unless there is none.
            let below = found.tried.iter().any(|tried| {
                tried.memory_mib == wanted - 1 && tried.failure.as_deref() == Some("crashed")
            });
            assert!(below || wanted == 1);
        }
    }

    #[test]
    fn steps_are_kept_to() {
        let found = least(256, 16, |size| Ok((size < 100).then(String::new))).unwrap();
        assert_eq!(found.least, 112);
        assert!(found.tried.iter().all(|tried| tried.memory_mib % 16 == 0));
    }

    #[test]
    fn what_never_works_and_what_breaks_off_are_errors() {
        let error = least(64, 1, |_| Ok(Some("crashed".into()))).unwrap_err();
        assert!(error.to_string().contains("64 MiB: crashed"), "{error}");
        let error = least(64, 1, |size| {
            if size > 30 {
                Ok(None)
            } else {
                Err("the lab is gone".into())
            }
        });
        assert!(error.is_err());
    }
}
