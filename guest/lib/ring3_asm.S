/* The switch to ring 3 and back. C side and contract: ring3.h. Selectors: cpu.h. */
    .text

/* u64 ring3_call(fn = RDI, arg = RSI) */
    .globl  ring3_call
ring3_call:
    pushq   %rbx
    pushq   %rbp
    pushq   %r12
    pushq   %r13
    pushq   %r14
    pushq   %r15
    pushfq
    movq    %rsp, saved_rsp(%rip)
    pushq   %rdi
    pushq   %rsi
    leaq    -64(%rsp), %rdi         /* what ring 0 does meanwhile stays below our frame */
    andq    $-16, %rdi
    call    cpu_set_kernel_stack
    popq    %rdi                    /* arg */
    popq    %rax                    /* fn */
    pushq   $0x1b                   /* USER_DS */
    pushq   $ring3_stack_top
    pushq   16(%rsp)                /* RFLAGS as they are, IF included */
    pushq   $0x23                   /* USER_CS */
    pushq   $ring3_enter
    iretq

/* CPL 3 from here */
ring3_enter:
    xorl    %ebp, %ebp
    call    *%rax
    .globl  ring3_exit
ring3_exit:
    ud2

/* Still CPL 3: void ring3_wait(counter = RDI, seen = RSI) */
    .globl  ring3_wait, ring3_wait_trap
ring3_wait:
ring3_wait_trap:
    ud2
    ret

/* CPL 0 again: void ring3_resume(result = RDI). Drops the exception frame. */
    .globl  ring3_resume
ring3_resume:
    movl    $0x10, %eax             /* an interrupt from ring 3 leaves SS null; have a real one again */
    movl    %eax, %ss
    movq    saved_rsp(%rip), %rsp
    movq    %rdi, %rax
    popfq
    popq    %r15
    popq    %r14
    popq    %r13
    popq    %r12
    popq    %rbp
    popq    %rbx
    ret

    .bss
    .balign 8
saved_rsp:
    .skip   8

    .section .noinit, "aw", @nobits
    .balign 4096
    .skip   16384
ring3_stack_top:
