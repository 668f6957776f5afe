//! The ports that both sides of the benchmark know.

/// Whether a peer finds two services at the ports.
pub fn run() -> bool {
    let ports = [tcp_probe::SINK, tcp_probe::SOURCE];
    ports[0] != ports[1] && !ports.contains(&0)
}
