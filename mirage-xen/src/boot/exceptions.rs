//! Descriptor tables, and what the processor enters when it raises an exception.
//!
//! Every handler runs on a stack of its own, says what happened and ends the domain. None returns, and no interrupt is
//! ever taken: `RFLAGS.IF` is never set.

#[cfg(mirage_image)]
use core::arch::global_asm;

use x86_64::PrivilegeLevel;
use x86_64::VirtAddr;
use x86_64::instructions::segmentation::{CS, DS, ES, SS, Segment};
use x86_64::instructions::tables::{lidt, load_tss};
use x86_64::structures::DescriptorTablePointer;
use x86_64::structures::gdt::{Descriptor, GlobalDescriptorTable};
use x86_64::structures::idt::{Entry, HandlerFunc};
use x86_64::structures::tss::TaskStateSegment;

use super::layout::Layout;
use super::report;
use super::sealed::Sealed;

/// Vectors that the processor itself raises.
const EXCEPTIONS: usize = 32;
/// Bytes of each stub below.
const STUB_SIZE: u64 = 16;
/// Which of the task state segment's stacks: for all exceptions but double faults.
const EXCEPTION_STACK: u16 = 0;
/// For double faults: the other one may be what failed.
const DOUBLE_FAULT_STACK: u16 = 1;
/// The vector of a double fault.
const DOUBLE_FAULT: usize = 8;

/// What the stubs leave on the stack.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Frame {
    pub(crate) r15: u64,
    pub(crate) r14: u64,
    pub(crate) r13: u64,
    pub(crate) r12: u64,
    pub(crate) r11: u64,
    pub(crate) r10: u64,
    pub(crate) r9: u64,
    pub(crate) r8: u64,
    pub(crate) rdi: u64,
    pub(crate) rsi: u64,
    pub(crate) rbp: u64,
    pub(crate) rbx: u64,
    pub(crate) rdx: u64,
    pub(crate) rcx: u64,
    pub(crate) rax: u64,
    pub(crate) vector: u64,
    pub(crate) error_code: u64,
    pub(crate) rip: u64,
    pub(crate) cs: u64,
    pub(crate) rflags: u64,
    pub(crate) rsp: u64,
    pub(crate) ss: u64,
}

const _: () = assert!(size_of::<Frame>() == 22 * 8);

// Vectors 8, 10 to 14, 17, 21, 29 and 30 come with an error code (AMD64 manual, volume 2, chapter 8); the others get a
// zero in its place.
#[cfg(mirage_image)]
global_asm!(
    r#"
.section .text.mirage_exceptions, "ax", @progbits
.balign 16
.globl mirage_exception_stubs
mirage_exception_stubs:
.set vector, 0
.rept 32
    .balign 16
    .if (0x60227D00 >> vector) & 1
    .else
    push 0
    .endif
    push vector
    jmp mirage_exception
    .set vector, vector + 1
.endr
.balign 16
mirage_exception:
    push rax
    push rcx
    push rdx
    push rbx
    push rbp
    push rsi
    push rdi
    push r8
    push r9
    push r10
    push r11
    push r12
    push r13
    push r14
    push r15
    cld
    mov rdi, rsp
    and rsp, -16
    call {exception}
    ud2
.text
"#,
    exception = sym exception,
);

unsafe extern "C" {
    /// The first of [`EXCEPTIONS`] stubs, [`STUB_SIZE`] apart.
    static mirage_exception_stubs: u8;
}

/// The descriptor tables and the task state segment. The processor writes none of them once they are loaded.
struct Descriptors {
    segments: GlobalDescriptorTable<5>,
    task: TaskStateSegment,
    gates: [Entry<HandlerFunc>; EXCEPTIONS],
}

#[cfg_attr(mirage_image, unsafe(link_section = ".bss.mirage_sealed"))]
static DESCRIPTORS: Sealed<Descriptors> = Sealed::new();

/// Makes the tables and loads them.
///
/// # Safety
///
/// Called once, at the start of an image, on its one processor; `layout` is the image's.
// Apart from its caller: see "What an image weighs" in CONTRIBUTING.md.
#[inline(never)]
pub(crate) unsafe fn init(layout: &Layout) {
    let mut task = TaskStateSegment::new();
    let mut stacks = task.interrupt_stack_table;
    stacks[usize::from(EXCEPTION_STACK)] = VirtAddr::new(layout.exception_stack.end);
    stacks[usize::from(DOUBLE_FAULT_STACK)] = VirtAddr::new(layout.double_fault_stack.end);
    task.interrupt_stack_table = stacks;
    // SAFETY: nothing else refers to `DESCRIPTORS`, and it isn't sealed: this is called once, at the start.
    let descriptors = unsafe {
        DESCRIPTORS.set(Descriptors {
            segments: GlobalDescriptorTable::empty(),
            task,
            gates: [Entry::missing(); EXCEPTIONS],
        })
    };
    // `layout`'s pointers into `DESCRIPTORS` are taken only after it lies where it stays.
    let code = descriptors
        .segments
        .append(Descriptor::kernel_code_segment());
    let data = descriptors
        .segments
        .append(Descriptor::kernel_data_segment());
    // SAFETY: `task` lies in a static that is never moved.
    let task = unsafe { Descriptor::tss_segment_unchecked(&raw const descriptors.task) };
    let task = descriptors.segments.append(task);
    // SAFETY: the table has flat segments for long mode with privilege 0, is in a static, and is not changed after
    // this. The task state segment names two stacks that are mapped and used for nothing else.
    unsafe {
        descriptors.segments.load_unsafe();
        CS::set_reg(code);
        SS::set_reg(data);
        DS::set_reg(data);
        ES::set_reg(data);
        load_tss(task);
    }
    let stubs = (&raw const mirage_exception_stubs) as u64;
    for (vector, gate) in descriptors.gates.iter_mut().enumerate() {
        let stack = if vector == DOUBLE_FAULT {
            DOUBLE_FAULT_STACK
        } else {
            EXCEPTION_STACK
        };
        // SAFETY: a stub expects what the processor pushes for its vector, and never returns.
        unsafe {
            gate.set_handler_addr(VirtAddr::new(stubs + vector as u64 * STUB_SIZE))
                .set_privilege_level(PrivilegeLevel::Ring0)
                .set_stack_index(stack);
        }
    }
    let pointer = DescriptorTablePointer {
        limit: (size_of_val(&descriptors.gates) - 1) as u16,
        base: VirtAddr::from_ptr(&raw const descriptors.gates),
    };
    // SAFETY: the gates lie in a static, are valid, and don't change any more.
    unsafe { lidt(&pointer) };
}

/// Where the stubs go.
#[cfg_attr(
    not(mirage_image),
    expect(dead_code, reason = "an image's stubs call it")
)]
extern "C" fn exception(frame: &Frame) -> ! {
    report::exception(frame, faulting_address())
}

/// CR2.
fn faulting_address() -> u64 {
    x86_64::registers::control::Cr2::read_raw()
}
