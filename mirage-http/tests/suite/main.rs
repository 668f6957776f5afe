//! The shells over a pipe, and the site compiler.

#[cfg(feature = "io")]
mod serve;
#[cfg(feature = "std")]
mod site_compiler;
