//! The first instructions, up to the first Rust line.
//!
//! Xen enters at `mirage_start` in 32-bit protected mode without paging, `ebx` pointing to the `hvm_start_info`
//! (`docs/misc/pvh.pandoc`). The trampoline checks the processor, builds page tables that are already right for every
//! page of the image, turns on what guards memory (`CR0.WP`, `EFER.NXE`, `CR4.SMEP`, `CR4.SMAP`) together with paging,
//! goes to the image's virtual addresses and takes its own page out of the tables.
//!
//! It says what it misses on the port that Xen logs from every guest (`XEN_HVM_DEBUGCONS_IOPORT`), and ends the domain.

use core::arch::global_asm;

use super::image;

global_asm!(
    // XEN_ELFNOTE_PHYS32_ENTRY (elfnote.h): a name, a description, a type.
    r#"
.section .note.Xen, "a", @note
.balign 4
.long 4, 4, 18
.asciz "Xen"
.long mirage_start

.section .boot, "ax", @progbits
.code32
.balign 16
.globl mirage_start
mirage_start:
    cli
    cld
    mov ebp, ebx
    rdtsc
    mov esp, offset mirage_stack_end_physical
    push edx
    push eax
    push ebp

    // Long mode and no-execute pages: CPUID 0x80000001, EDX bits 29 and 20.
    mov eax, 0x80000000
    cpuid
    cmp eax, 0x80000001
    jb no_long_mode
    mov eax, 0x80000001
    cpuid
    and edx, 0x20100000
    cmp edx, 0x20100000
    jne no_long_mode

    // ebx: the next free table. The top-level table is the first.
    mov ebx, offset mirage_first_tables_physical + 4096
    mov esi, offset ranges
next_range:
    push dword ptr [esi + 12]
    push dword ptr [esi + 8]
    mov ebp, [esi]
    mov edx, [esi + 4]
next_page:
    // [esp]: the physical address, [esp + 4]: how many pages are left, edx:ebp: the virtual address.
    sub dword ptr [esp + 4], 1
    jb range_done
    mov edi, offset mirage_first_tables_physical
    mov eax, edx
    shr eax, 7
    call descend
    mov eax, edx
    shld eax, ebp, 2
    call descend
    mov eax, ebp
    shr eax, 21
    call descend
    mov eax, ebp
    shr eax, 12
    and eax, 511
    mov ecx, [esp]
    or ecx, [esi + 16]
    mov [edi + eax * 8], ecx
    mov ecx, [esi + 20]
    mov [edi + eax * 8 + 4], ecx
    add dword ptr [esp], 4096
    add ebp, 4096
    adc edx, 0
    jmp next_page
range_done:
    add esp, 8
    add esi, 24
    cmp esi, offset ranges_end
    jb next_range
    // How many tables are in use.
    sub ebx, offset mirage_first_tables_physical
    shr ebx, 12
    push ebx

    mov eax, offset mirage_first_tables_physical
    mov cr3, eax

    // CR4: PAE, OSFXSR, OSXMMEXCPT; SMEP and SMAP by CPUID 7, EBX bits 7 and 20.
    xor eax, eax
    cpuid
    mov ebp, 0x620
    cmp eax, 7
    jb no_leaf_7
    mov eax, 7
    xor ecx, ecx
    cpuid
    bt ebx, 7
    jnc no_smep
    or ebp, 1 << 20
no_smep:
    bt ebx, 20
    jnc no_smap
    or ebp, 1 << 21
no_smap:
no_leaf_7:
    mov cr4, ebp

    // EFER: LME and NXE.
    mov ecx, 0xC0000080
    rdmsr
    or eax, 0x900
    wrmsr

    // CR0: PE, MP, NE, WP and PG on; EM and TS off.
    mov eax, cr0
    and eax, 0xFFFFFFF3
    or eax, 0x80010023
    mov cr0, eax

    lgdt [descriptors_pointer]
    .byte 0xEA
    .long long_mode
    .word 8

// edi: a table, eax: an index into it (its low 9 bits). edi becomes the table below, which is made if it isn't there.
descend:
    and eax, 511
    lea eax, [edi + eax * 8]
    mov edi, [eax]
    test edi, 1
    jnz there
    cmp ebx, offset mirage_first_tables_end_physical
    jae no_table
    lea edi, [ebx + 3]
    mov [eax], edi
    add ebx, 4096
there:
    and edi, 0xFFFFF000
    ret

no_long_mode:
    mov esi, offset no_long_mode_text
    jmp refuse
no_table:
    mov esi, offset no_table_text
// esi: a text that ends in zero. Ends the domain with the crash reason.
refuse:
    mov dx, 0xE9
next_byte:
    lodsb
    test al, al
    jz said
    out dx, al
    jmp next_byte
said:
    // SCHEDOP_shutdown. AMD's instruction for a hypercall isn't Intel's: "AMDisbetter!" and "HygonGenuine" have it.
    xor eax, eax
    cpuid
    mov eax, 29
    mov esi, ecx
    mov ecx, offset crash_reason
    cmp esi, 0x444D4163
    mov esi, ebx
    mov ebx, 2
    je amd
    cmp esi, 0x6F677948
    je amd
    vmcall
    ud2
amd:
    vmmcall
    ud2

.code64
long_mode:
    mov ax, 16
    mov ds, ax
    mov es, ax
    mov ss, ax
    xor eax, eax
    mov fs, ax
    mov gs, ax
    movabs rax, offset mirage_virtual_entry
    jmp rax

.balign 8
descriptors:
    // Accessed already: the processor doesn't write to them.
    .quad 0, 0x00AF9B000000FFFF, 0x00CF93000000FFFF
descriptors_pointer:
    .word 23
    .long descriptors
crash_reason:
    .long 3
no_long_mode_text:
    .asciz "mirage: the processor has no long mode or no no-execute pages\n"
no_table_text:
    .asciz "mirage: the link script reserved too few page tables\n"

// Of each range: its virtual and its physical address, its number of pages, and its entries' flags: bit 0 present,
// bit 1 writable, bit 63 not executable.
.balign 8
ranges:
    .quad mirage_physical_base
    .long mirage_physical_base, 1, 1, 0
    .quad mirage_text_start
    .long mirage_text_physical, mirage_text_pages, 1, 0
    .quad mirage_constants_start
    .long mirage_constants_physical, mirage_constants_pages, 1, 0x80000000
    .quad mirage_data_start
    .long mirage_data_physical, mirage_data_pages, 3, 0x80000000
    .quad mirage_stack_start
    .long mirage_stack_physical, mirage_stack_pages, 3, 0x80000000
    .quad mirage_exception_stack_start
    .long mirage_exception_stack_physical, 2, 3, 0x80000000
    .quad mirage_double_fault_stack_start
    .long mirage_double_fault_stack_physical, 2, 3, 0x80000000
    .quad mirage_tables
    .long mirage_first_tables_physical, mirage_first_tables_pages, 3, 0x80000000
ranges_end:

.section .text.mirage_virtual_entry, "ax", @progbits
mirage_virtual_entry:
    // The same stack at its virtual address: what was pushed is on its top.
    lea rsp, [rip + mirage_stack_end]
    mov edx, [rsp - 16]
    mov edi, [rsp - 12]
    mov esi, [rsp - 8]
    mov eax, [rsp - 4]
    shl rax, 32
    or rsi, rax
    // The trampoline goes: it was alone in the first slot of the top-level table.
    movabs rax, offset mirage_tables
    mov qword ptr [rax], 0
    mov rax, cr3
    mov cr3, rax
    fninit
    push 0x1F80
    ldmxcsr [rsp]
    add rsp, 8
    xor ebp, ebp
    call {start}
    ud2

.section .rodata.mirage_layout, "a", @progbits
.balign 8
.globl mirage_layout
mirage_layout:
    .quad mirage_image_offset
    .quad mirage_text_start, mirage_text_end
    .quad mirage_constants_start, mirage_constants_end
    .quad mirage_data_start, mirage_data_end
    .quad mirage_sealed_start, mirage_sealed_end
    .quad mirage_stack_start, mirage_stack_end
    .quad mirage_exception_stack_start, mirage_exception_stack_end
    .quad mirage_double_fault_stack_start, mirage_double_fault_stack_end
    .quad mirage_first_tables, mirage_first_tables_end
    .quad mirage_memory, mirage_io_pages, mirage_io_window, mirage_tables
.text
"#,
    start = sym image::start,
);
