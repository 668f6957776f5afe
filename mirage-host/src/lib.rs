//! The devices of a library operating system inside a Unix process: tap, sockets, clocks, entropy, parking
