//! Our stack on a tap, and other people's programs.

mod dhcp;
mod segmentation;
mod tcp;
