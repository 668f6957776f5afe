//! The program that the kernel runs on each received frame, and its attachment, by bpf(2).
//!
//! The program is six instructions and was assembled by hand: redirect to the socket that the map has for the frame's
//! queue, and where it has none let the frame pass to the kernel.

use std::ffi::{c_int, c_long};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

// Commands of bpf(2), `enum bpf_cmd` of linux/bpf.h.
const BPF_MAP_CREATE: c_int = 0;
const BPF_MAP_UPDATE_ELEM: c_int = 2;
const BPF_PROG_LOAD: c_int = 5;
const BPF_LINK_CREATE: c_int = 28;
const BPF_LINK_DETACH: c_int = 34;
/// `enum bpf_map_type`: sockets of AF_XDP by number.
const BPF_MAP_TYPE_XSKMAP: u32 = 17;
/// `enum bpf_prog_type`.
const BPF_PROG_TYPE_XDP: u32 = 6;
/// `enum bpf_attach_type`.
const BPF_XDP: u32 = 37;
/// `BPF_PSEUDO_MAP_FD`: the immediate of a 64-bit load is a map's descriptor.
const BPF_PSEUDO_MAP_FD: u8 = 1;
/// `enum bpf_func_id`: `bpf_redirect_map(map, key, flags)`, whose flags' low bits are what it returns for a missing key.
const BPF_FUNC_REDIRECT_MAP: i32 = 51;
/// `enum xdp_action`.
const XDP_PASS: i32 = 2;
/// Offset of `rx_queue_index` in `struct xdp_md`.
const RX_QUEUE_INDEX: i16 = 16;

/// How a program is attached, `XDP_FLAGS_*` of linux/if_link.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Attachment {
    /// In the driver, before the kernel makes a packet of the frame.
    Native = 1 << 2,
    /// In the kernel's own receive path.
    Generic = 1 << 1,
}

/// `struct bpf_insn` of linux/bpf.h.
#[derive(Clone, Copy)]
#[repr(C)]
struct Instruction {
    code: u8,
    /// Destination in the low half, source in the high one.
    registers: u8,
    offset: i16,
    immediate: i32,
}

const _: () = assert!(size_of::<Instruction>() == 8);

const fn instruction(
    code: u8,
    destination: u8,
    source: u8,
    offset: i16,
    immediate: i32,
) -> Instruction {
    Instruction {
        code,
        registers: destination | source << 4,
        offset,
        immediate,
    }
}

/// The program; `map` is the descriptor of the map of sockets.
const fn program(map: c_int) -> [Instruction; 6] {
    [
        // r2 = context->rx_queue_index (BPF_LDX | BPF_MEM | BPF_W)
        instruction(0x61, 2, 1, RX_QUEUE_INDEX, 0),
        // r1 = map (BPF_LD | BPF_IMM | BPF_DW, two slots)
        instruction(0x18, 1, BPF_PSEUDO_MAP_FD, 0, map),
        instruction(0, 0, 0, 0, 0),
        // r3 = XDP_PASS (BPF_ALU64 | BPF_MOV | BPF_K)
        instruction(0xb7, 3, 0, 0, XDP_PASS),
        // r0 = bpf_redirect_map(r1, r2, r3) (BPF_JMP | BPF_CALL)
        instruction(0x85, 0, 0, 0, BPF_FUNC_REDIRECT_MAP),
        // return r0 (BPF_JMP | BPF_EXIT)
        instruction(0x95, 0, 0, 0, 0),
    ]
}

/// A map of one socket: the queue's number leads to it.
pub(super) struct SocketMap(OwnedFd);

impl SocketMap {
    pub(super) fn new() -> Result<Self, Errno> {
        /// The beginning of `union bpf_attr` for `BPF_MAP_CREATE`; what is left out is zero.
        #[repr(C)]
        struct Attributes {
            map_type: u32,
            key_size: u32,
            value_size: u32,
            max_entries: u32,
            map_flags: u32,
        }
        let attributes = Attributes {
            map_type: BPF_MAP_TYPE_XSKMAP,
            key_size: 4,
            value_size: 4,
            max_entries: 1,
            map_flags: 0,
        };
        // SAFETY: the attributes are the command's, and hold no pointer.
        let descriptor = unsafe { bpf(BPF_MAP_CREATE, &attributes) }?;
        // SAFETY: the command returns a new descriptor, which is nobody else's.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(descriptor) }))
    }

    /// Makes `socket` the one of queue 0.
    pub(super) fn set(&self, socket: BorrowedFd<'_>) -> Result<(), Errno> {
        /// The same for `BPF_MAP_UPDATE_ELEM`.
        #[repr(C)]
        struct Attributes {
            map: u32,
            padding: u32,
            key: u64,
            value: u64,
            flags: u64,
        }
        let key = 0u32;
        let value = socket.as_raw_fd();
        let attributes = Attributes {
            map: descriptor_number(&self.0),
            padding: 0,
            key: (&raw const key).expose_provenance() as u64,
            value: (&raw const value).expose_provenance() as u64,
            flags: 0,
        };
        // SAFETY: the attributes are the command's; it reads four bytes of the key and four of the value, which outlive it.
        unsafe { bpf(BPF_MAP_UPDATE_ELEM, &attributes) }.map(drop)
    }
}

/// A program that is attached to an interface: detached when this is dropped, or when the process ends in whatever way.
pub(super) struct Link(OwnedFd);

impl Link {
    /// Loads the program, and attaches it to an interface.
    pub(super) fn attach(
        map: &SocketMap,
        interface: u32,
        attachment: Attachment,
    ) -> Result<Self, Errno> {
        /// The same for `BPF_LINK_CREATE`.
        #[repr(C)]
        struct Attributes {
            program: u32,
            interface: u32,
            attach_type: u32,
            flags: u32,
        }
        let program = load(map)?;
        let attributes = Attributes {
            program: descriptor_number(&program),
            interface,
            attach_type: BPF_XDP,
            flags: attachment as u32,
        };
        // SAFETY: the attributes are the command's, and hold no pointer.
        let descriptor = unsafe { bpf(BPF_LINK_CREATE, &attributes) }?;
        // SAFETY: the command returns a new descriptor, which is nobody else's.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(descriptor) }))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // Closing would do it, unless a child between fork(2) and execve(2) has a copy of the descriptor.
        let attributes = descriptor_number(&self.0);
        // SAFETY: the attributes of `BPF_LINK_DETACH` begin with the link's descriptor, and hold no pointer.
        if let Err(error) = unsafe { bpf(BPF_LINK_DETACH, &attributes) } {
            // The interface is gone, and the attachment with it.
            log::debug!("the program was not detached: {error}");
        }
    }
}

fn load(map: &SocketMap) -> Result<OwnedFd, Errno> {
    /// The same for `BPF_PROG_LOAD`, up to the last field that is not zero.
    #[repr(C)]
    struct Attributes {
        program_type: u32,
        instruction_count: u32,
        instructions: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log: u64,
        kernel_version: u32,
        flags: u32,
        name: [u8; 16],
        interface: u32,
        expected_attach_type: u32,
    }
    let program = program(map.0.as_raw_fd());
    let attributes = Attributes {
        program_type: BPF_PROG_TYPE_XDP,
        instruction_count: program.len() as u32,
        instructions: program.as_ptr().expose_provenance() as u64,
        license: c"MIT".as_ptr().expose_provenance() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
        name: *b"mirage_xdp\0\0\0\0\0\0",
        interface: 0,
        expected_attach_type: BPF_XDP,
    };
    // SAFETY: the attributes are the command's; it reads as many instructions as it is told, and a C string: both outlive it.
    let descriptor = unsafe { bpf(BPF_PROG_LOAD, &attributes) }?;
    // SAFETY: the command returns a new descriptor, which is nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

fn descriptor_number(descriptor: &OwnedFd) -> u32 {
    // An open descriptor's number isn't negative.
    descriptor.as_fd().as_raw_fd().cast_unsigned()
}

/// bpf(2). Its descriptors close on execve(2).
///
/// # Safety
///
/// `attributes` is the beginning of `union bpf_attr` as `command` reads it, without padding, and its pointers point to what the
/// command says.
unsafe fn bpf<A>(command: c_int, attributes: &A) -> Result<c_int, Errno> {
    // SAFETY: bpf(2) reads `size` bytes of the attributes and takes the rest for zeros; the caller answers for what is in them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            c_long::from(command),
            &raw const *attributes,
            size_of::<A>(),
        )
    };
    if result < 0 {
        return Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO));
    }
    c_int::try_from(result).map_err(|_| Errno::PROTO)
}
