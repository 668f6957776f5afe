//! What a PVH domain finds at the physical address in `ebx` when it starts (arch-x86/hvm/start_info.h).

use zerocopy::{FromBytes, IntoBytes};

/// `XEN_HVM_START_MAGIC_VALUE`.
pub const START_MAGIC: u32 = 0x336e_c578;
/// `XEN_HVM_MEMMAP_TYPE_RAM`.
pub const MEMORY_TYPE_RAM: u32 = 1;

/// `struct hvm_start_info`. Addresses are physical; zero is none.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes)]
#[repr(C)]
pub struct StartInfo {
    /// [`START_MAGIC`].
    pub magic: u32,
    /// The structure's version. From 1 on it has a memory map; later ones only add to it.
    pub version: u32,
    /// `SIF_*`.
    pub flags: u32,
    /// `nr_modules`: entries of the list of modules.
    pub modules: u32,
    /// `modlist_paddr`: an array of [`ModuleEntry`].
    pub module_list: u64,
    /// `cmdline_paddr`: a string that ends in a zero.
    pub command_line: u64,
    /// `rsdp_paddr`: ACPI's root pointer.
    pub rsdp: u64,
    /// `memmap_paddr`: an array of [`MemoryMapEntry`].
    pub memory_map: u64,
    /// `memmap_entries`.
    pub memory_map_entries: u32,
    /// Zero.
    pub reserved: u32,
}

/// `struct hvm_modlist_entry`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes)]
#[repr(C)]
pub struct ModuleEntry {
    /// `paddr`: where the module's bytes are.
    pub address: u64,
    /// Bytes.
    pub size: u64,
    /// `cmdline_paddr`: the module's own string.
    pub command_line: u64,
    /// Zero.
    pub reserved: u64,
}

/// `struct hvm_memmap_table_entry`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes)]
#[repr(C)]
pub struct MemoryMapEntry {
    /// `addr`: where the range begins.
    pub address: u64,
    /// Bytes.
    pub size: u64,
    /// `type`: [`MEMORY_TYPE_RAM`] or something else.
    pub kind: u32,
    /// Zero.
    pub reserved: u32,
}

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<StartInfo>() == 56);
    assert!(offset_of!(StartInfo, modules) == 12);
    assert!(offset_of!(StartInfo, module_list) == 16);
    assert!(offset_of!(StartInfo, command_line) == 24);
    assert!(offset_of!(StartInfo, memory_map) == 40);
    assert!(offset_of!(StartInfo, memory_map_entries) == 48);
    assert!(size_of::<ModuleEntry>() == 32);
    assert!(size_of::<MemoryMapEntry>() == 24);
    assert!(offset_of!(MemoryMapEntry, kind) == 16);
};
