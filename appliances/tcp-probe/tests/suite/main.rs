//! Our stack on netfront, on the simulated hypervisor: what it does to the other side, and how often.

mod hypercalls;
mod window;
mod world;
