/*
 * The two ways in. Both end in `kit_start` with our page tables and stack, RDI = the address of
 * what the loader left for us, ESI = which of the two it is.
 */

/* 1. The monitor enters an ELF64 image here: 64-bit mode, ring 0, RDI = boot info (bootinfo.h). */
    .section .text.start, "ax"
    .code64
    .globl _start
_start:
    cli
    cld
    xorl    %esi, %esi
    movl    $0x20, %eax             /* CR4: PAE only; in particular no SMEP or SMAP, since every */
    movq    %rax, %cr4              /* page below is a user page (SDM vol. 3, 2.5) */
    movl    $pml4, %eax
    movq    %rax, %cr3
    jmp     long_mode

/* 2. A PVH loader (QEMU -kernel, Xen) enters here: 32-bit protected mode, paging off,
 *    EBX = hvm_start_info. https://xenbits.xen.org/docs/unstable/misc/pvh.html */
    .code32
    .globl pvh_start
pvh_start:
    cli
    cld
    movl    %ebx, %edi
    movl    $1, %esi
    movl    $0x20, %eax
    movl    %eax, %cr4              /* PAE */
    movl    $pml4, %eax
    movl    %eax, %cr3
    movl    $0xc0000080, %ecx       /* EFER */
    rdmsr
    orl     $0x100, %eax            /* LME */
    wrmsr
    movl    %cr0, %eax
    orl     $0x80000001, %eax       /* PG, PE: long mode becomes active (SDM vol. 3, 10.8.5) */
    movl    %eax, %cr0
    lgdt    boot_gdtr
    ljmp    $0x08, $long_mode

    .code64
long_mode:
    movl    $kit_stack_top, %esp
    movq    %rdi, %rbx
    movl    $__bss_start, %edi      /* a loader of flat images clears nothing */
    movl    $__bss_end, %ecx
    subl    %edi, %ecx
    shrl    $3, %ecx
    xorl    %eax, %eax
    rep stosq
    movq    %rbx, %rdi
    xorl    %ebp, %ebp
    call    kit_start
1:  cli
    hlt
    jmp     1b

/* Only there to get from 32-bit to 64-bit mode; cpu.c has the real one. */
    .section .rodata
    .balign 8
    .globl  boot_gdt
boot_gdt:
    .quad   0
    .quad   0x00af9b000000ffff
boot_gdtr:
    .word   boot_gdtr - boot_gdt - 1
    .long   boot_gdt

/*
 * The low 4 GiB one to one in 2 MiB pages, built by the assembler so that it costs no instruction
 * at run time. Bits (SDM vol. 3, 4.5.4): P 0x1, RW 0x2, US 0x4, PWT 0x8, PCD 0x10, A 0x20, D 0x40,
 * PS 0x80. All of it belongs to ring 3 too: ring 3 is where a driver here runs fast. The top
 * gigabyte holds devices and is uncached.
 */
    .section .data.page, "aw"
    .balign 4096
pd:
    .set    page, 0
    .rept   2048
    .if     page < 0xc0000000
    .quad   page + 0xe7
    .else
    .quad   page + 0xff
    .endif
    .set    page, page + 0x200000
    .endr
pdpt:
    .quad   pd + 0x27, pd + 0x1027, pd + 0x2027, pd + 0x3027
    .fill   508, 8, 0
    .globl  pml4
pml4:
    .quad   pdpt + 0x27
    .fill   511, 8, 0

    .section .noinit, "aw", @nobits
    .balign 4096
    .skip   32768
    .globl  kit_stack_top
kit_stack_top:

/* XEN_ELFNOTE_PHYS32_ENTRY: what makes an ELF a PVH kernel (Xen public/elfnote.h). */
    .section .note.Xen, "a", @note
    .balign 4
    .long   4, 4, 18
    .asciz  "Xen"
    .long   pvh_start

/* Any note of "pykvm" says that the ELF entry takes a boot-info block, so that pykvm enters there. */
    .section .note.pykvm, "a", @note
    .balign 4
    .long   6, 4, 1
    .asciz  "pykvm"
    .balign 4
    .long   1
