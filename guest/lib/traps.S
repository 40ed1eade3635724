/* One stub per vector: make every frame look alike (struct frame), then call C. */
    .text
    .globl  trap_stubs
    .balign 16
trap_stubs:
    .set    vector, 0
    .rept   256
    .balign 16
    /* These push an error code of their own: 8, 10-14, 17, 21 (SDM vol. 3, table 6-1). */
    .if     !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21)
    pushq   $0
    .endif
    pushq   $vector
    jmp     trap_common
    .set    vector, vector + 1
    .endr

    .balign 16
trap_common:
    pushq   %rax
    pushq   %rbx
    pushq   %rcx
    pushq   %rdx
    pushq   %rsi
    pushq   %rdi
    pushq   %rbp
    pushq   %r8
    pushq   %r9
    pushq   %r10
    pushq   %r11
    pushq   %r12
    pushq   %r13
    pushq   %r14
    pushq   %r15
    cld
    movq    %rsp, %rdi
    call    interrupt_dispatch
    popq    %r15
    popq    %r14
    popq    %r13
    popq    %r12
    popq    %r11
    popq    %r10
    popq    %r9
    popq    %r8
    popq    %rbp
    popq    %rdi
    popq    %rsi
    popq    %rdx
    popq    %rcx
    popq    %rbx
    popq    %rax
    addq    $16, %rsp               /* vector and error code */
    iretq
