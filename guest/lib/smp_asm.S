/*
 * Where another processor starts: in real mode, in a copy of ap_start below 1 MiB with CS:IP at its first
 * byte. It goes to 64-bit mode at once (SDM vol. 3, 10.8.5), with the page tables of the first.
 */
    .section .rodata
    .globl  ap_start, ap_end
    .code16
    .balign 16
ap_start:
    cli
    movl    $1, %ebp
    lock xaddl %ebp, %cs:ap_next - ap_start
    cmpl    $4, %ebp                /* CPUS: there is no stack for more */
    jae     1f
    lgdtl   %cs:ap_gdtr - ap_start
    movl    $0x20, %eax             /* PAE */
    movl    %eax, %cr4
    movl    $pml4, %eax
    movl    %eax, %cr3
    movl    $0xc0000080, %ecx       /* EFER */
    rdmsr
    orl     $0x100, %eax            /* LME */
    wrmsr
    movl    %cr0, %eax
    andl    $~0x60000000, %eax      /* INIT leaves the caches off */
    orl     $0x80000001, %eax       /* PG, PE */
    movl    %eax, %cr0
    ljmpl   $0x08, $ap_long
1:  hlt
    jmp     1b
    .balign 4
ap_next:                            /* its number: the first processor is 0 */
    .long   1
ap_gdtr:
    .word   15
    .long   boot_gdt
ap_end:

    .text
    .code64
ap_long:
    movl    %ebp, %esp
    shll    $14, %esp
    addl    $ap_stacks, %esp        /* the end of its stack */
    movl    %ebp, %edi
    xorl    %ebp, %ebp
    call    smp_enter
1:  cli
    hlt
    jmp     1b

    .section .noinit, "aw", @nobits
    .balign 4096
ap_stacks:
    .skip   16384 * 3               /* CPUS - 1 */
