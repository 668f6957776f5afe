//! What the processor and Xen have, by CPUID.

use core::arch::asm;
use core::arch::x86_64::{__cpuid, __cpuid_count, _rdtsc, CpuidResult};

/// `XEN_CPUID_FIRST_LEAF` (arch-x86/cpuid.h).
const XEN_FIRST_LEAF: u32 = 0x4000_0000;
/// Where Xen's leaves may begin is a multiple of 0x100 below this.
const XEN_LAST_LEAF: u32 = 0x4001_0000;
/// `XEN_CPUID_SIGNATURE_EBX`, `_ECX` and `_EDX`: "XenVMMXenVMM".
const XEN_SIGNATURE: [u32; 3] = [0x566e_6558, 0x6558_4d4d, 0x4d4d_566e];
/// How often a random number is asked for before the source counts as empty (Intel's manual, volume 1, 7.3.17: ten
/// times).
const RANDOM_TRIES: u32 = 10;

/// The processor's features that this crate looks at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cpu {
    pub(super) call: HypercallInstruction,
    random: RandomSource,
    /// Bits of a physical address.
    pub(crate) physical_address_bits: u32,
}

/// Which instruction goes to the hypervisor. The other one raises an exception.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HypercallInstruction {
    /// Intel's, and those who made it the same.
    Vmcall,
    /// AMD's and Hygon's.
    Vmmcall,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RandomSource {
    Seed,
    Number,
    None,
}

impl Cpu {
    /// Looks.
    pub(crate) fn detect() -> Self {
        let first = __cpuid(0);
        let features = __cpuid(1);
        let more = if first.eax >= 7 {
            __cpuid_count(7, 0).ebx
        } else {
            0
        };
        let random = if more & (1 << 18) != 0 {
            RandomSource::Seed
        } else if features.ecx & (1 << 30) != 0 {
            RandomSource::Number
        } else {
            RandomSource::None
        };
        let physical_address_bits = if __cpuid(0x8000_0000).eax >= 0x8000_0008 {
            __cpuid(0x8000_0008).eax & 0xFF
        } else {
            36
        };
        Self {
            call: HypercallInstruction::of(&first),
            random,
            physical_address_bits,
        }
    }

    /// A number from RDSEED, or where that is missing from RDRAND.
    pub(super) fn random(self) -> Option<u64> {
        (0..RANDOM_TRIES).find_map(|_| match self.random {
            RandomSource::Seed => read_seed(),
            RandomSource::Number => read_number(),
            RandomSource::None => None,
        })
    }
}

impl HypercallInstruction {
    pub(super) fn detect() -> Self {
        Self::of(&__cpuid(0))
    }

    /// By the vendor's name in leaf 0.
    fn of(leaf: &CpuidResult) -> Self {
        let mut name = [0; 12];
        for (word, value) in name.chunks_exact_mut(4).zip([leaf.ebx, leaf.edx, leaf.ecx]) {
            word.copy_from_slice(&value.to_le_bytes());
        }
        match &name {
            b"AuthenticAMD" | b"HygonGenuine" => Self::Vmmcall,
            _ => Self::Vmcall,
        }
    }
}

/// Whether the hypervisor is Xen.
pub(crate) fn is_xen() -> bool {
    (XEN_FIRST_LEAF..XEN_LAST_LEAF).step_by(0x100).any(|leaf| {
        let answer = __cpuid(leaf);
        [answer.ebx, answer.ecx, answer.edx] == XEN_SIGNATURE
    })
}

/// The time stamp counter.
pub(super) fn time_stamp_counter() -> u64 {
    // SAFETY: the instruction has no precondition at privilege 0 (CR4.TSD only concerns the others), and each x86-64
    // processor has it.
    unsafe { _rdtsc() }
}

fn read_seed() -> Option<u64> {
    let value: u64;
    let valid: u8;
    // SAFETY: only called where CPUID says that the instruction is there; it writes one register and flags.
    unsafe {
        asm!(
            "rdseed {value}",
            "setc {valid}",
            value = out(reg) value,
            valid = out(reg_byte) valid,
            options(nomem, nostack),
        );
    }
    (valid != 0).then_some(value)
}

fn read_number() -> Option<u64> {
    let value: u64;
    let valid: u8;
    // SAFETY: as for `read_seed`.
    unsafe {
        asm!(
            "rdrand {value}",
            "setc {valid}",
            value = out(reg) value,
            valid = out(reg_byte) valid,
            options(nomem, nostack),
        );
    }
    (valid != 0).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vendor_s_name_says_which_instruction_calls_xen() {
        let leaf = |name: &[u8; 12]| {
            let word = |at: usize| {
                u32::from_le_bytes([name[at], name[at + 1], name[at + 2], name[at + 3]])
            };
            CpuidResult {
                eax: 13,
                ebx: word(0),
                edx: word(4),
                ecx: word(8),
            }
        };
        let rows = [
            (b"AuthenticAMD", HypercallInstruction::Vmmcall),
            (b"HygonGenuine", HypercallInstruction::Vmmcall),
            (b"GenuineIntel", HypercallInstruction::Vmcall),
            (b"CentaurHauls", HypercallInstruction::Vmcall),
        ];
        for (name, instruction) in rows {
            assert_eq!(HypercallInstruction::of(&leaf(name)), instruction);
        }
        // As the trampoline compares them.
        assert_eq!(leaf(b"AuthenticAMD").ecx, 0x444D_4163);
        assert_eq!(leaf(b"HygonGenuine").ebx, 0x6F67_7948);
    }
}
