//! The tool from outside.

mod command_line;
mod image;
mod lab_agent;
mod new;
mod runtime_memory;
