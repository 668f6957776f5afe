//! What the toolstack writes for a domain, as libxl does.

use std::format;

use super::server::Server;
use super::tree::Permission;
use crate::abi::DomainId;

/// Makes a domain's keys: those that it reads, and those that it may write.
pub(super) fn build_domain(server: &mut Server, domain: DomainId, console: bool) {
    let home = format!("/local/domain/{}", domain.0);
    let readable = [Permission::none(DomainId::DOM0), Permission::read(domain)];
    let own = [Permission::none(domain)];
    let mut key = |path: &str, value: &str, permissions: &[Permission]| {
        server.write_privileged(path, value.as_bytes());
        server.set_permissions_privileged(path, permissions);
    };
    key("/local/domain/0", "", &[Permission::none(DomainId::DOM0)]);
    key(
        "/local/domain/0/name",
        "Domain-0",
        &[Permission::none(DomainId::DOM0)],
    );
    key(&home, "", &readable);
    for (name, value) in [
        ("name", "appliance"),
        ("domid", &*format!("{}", domain.0)),
        ("vm", "/vm/00000000-0000-0000-0000-000000000005"),
        ("cpu/0/availability", "online"),
        ("memory/target", "65536"),
        ("device", ""),
        ("control", ""),
        ("control/platform-feature-multiprocessor-suspend", "1"),
        ("control/platform-feature-xs_reset_watches", "1"),
        ("store/ring-ref", "1"),
        ("store/port", "1"),
    ] {
        key(&format!("{home}/{name}"), value, &readable);
    }
    if console {
        key(&format!("{home}/console"), "", &readable);
        key(&format!("{home}/console/limit"), "1048576", &readable);
    }
    for name in [
        "control/shutdown",
        "control/feature-poweroff",
        "control/feature-reboot",
        "control/feature-suspend",
        "control/sysrq",
        "data",
        "drivers",
        "feature",
        "attr",
        "error",
    ] {
        key(&format!("{home}/{name}"), "", &own);
    }
}
