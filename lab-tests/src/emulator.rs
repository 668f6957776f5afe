//! What the emulator does to a guest.
//!
//! QEMU 7.2's SVM, on a machine that has more to do than it can, now and then lets a guest go on with the hypervisor's own CS, RIP,
//! RSP, RFLAGS and CR3; how that comes about is not known. It was seen with a thread for each processor alone
//! (`Emulation::AtOnce`), which is not how these tests have it.
//! Nothing is in memory where those registers lead to: the guest ends with a triple fault, and is restarted. Nothing that a guest
//! does makes Xen's own code selector its own at Xen's own address, so that these registers tell it from each fault of ours.

/// Among a processor's registers, as Xen prints them: its CS and RIP are Xen's.
const XENS_TEXT: &str = "RIP:    e008:[<ffff82d0";

/// Whose registers they are: in the line after that one.
const GUEST: &str = "CONTEXT: hvm guest (";

/// The guests, by Xen's names for them (`d1v0`), that the emulator gave Xen's registers, in the order in which a lab's log has them.
pub(crate) fn victims(log: &str) -> Vec<&str> {
    // Lines of others come between.
    let lines = || log.lines().filter(|line| line.contains("| (XEN) "));
    lines()
        .zip(lines().skip(1))
        .filter(|(line, _)| line.contains(XENS_TEXT))
        .filter_map(|(_, next)| {
            let (_, guest) = next.split_once(GUEST)?;
            guest.split_once(')').map(|(guest, _)| guest)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_with_xen_s_registers_is_the_emulator_s() {
        let log = "\
[  16.958] xen     | (XEN) d1v0 Triple fault - invoking HVM shutdown action 1
[  16.960] xen     | (XEN) CPU:    0
[  16.961] xen     | (XEN) RIP:    e008:[<ffff82d0402044a5>]
[  16.961] dns-dhcp| mirage: ready 10.98.0.4
[  16.961] xen     | (XEN) RFLAGS: 0000000000000246   CONTEXT: hvm guest (d1v0)
";
        assert_eq!(victims(log), ["d1v0"]);
    }

    #[test]
    fn a_guest_s_own_triple_fault_is_not() {
        let own = "\
[  16.961] xen     | (XEN) RIP:    0008:[<000012dbc82044a5>]
[  16.961] xen     | (XEN) RFLAGS: 0000000000000046   CONTEXT: hvm guest (d1v0)
";
        let xens = "\
[  16.961] xen     | (XEN) RIP:    e008:[<ffff82d0402044a5>] svm.c#do
[  16.961] xen     | (XEN) RFLAGS: 0000000000000246   CONTEXT: hypervisor (d1v0)
";
        assert_eq!(victims(own), [""; 0]);
        assert_eq!(victims(xens), [""; 0]);
        assert_eq!(victims(""), [""; 0]);
    }
}
