/* The switch to ring 3 and back. C side and contract: ring3.h. Selectors: cpu.h. */
    .text

/* u64 ring3_call(fn = RDI, arg = RSI); u64 ring3_call_on(fn = RDI, arg = RSI, cpu = EDX) */
    .globl  ring3_call, ring3_call_on
ring3_call:
    xorl    %edx, %edx
ring3_call_on:
    pushq   %rbx
    pushq   %rbp
    pushq   %r12
    pushq   %r13
    pushq   %r14
    pushq   %r15
    pushfq
    cli                             /* an interrupt before ring 3 would push its frame over (%r12) */
    movl    %edx, %ebx
    leaq    -64(%rsp), %r12         /* what ring 0 does meanwhile stays below our frame */
    andq    $-16, %r12
    pushq   %rdi
    pushq   %rsi
    movl    %ebx, %edi
    movq    %r12, %rsi
    call    cpu_set_kernel_stack
    popq    %rdi                    /* arg */
    popq    %rax                    /* fn */
    movq    %rsp, (%r12)            /* for ring3_end */
    incl    %ebx
    shll    $14, %ebx
    addq    $ring3_stacks, %rbx     /* the end of this processor's */
    pushq   $0x1b                   /* USER_DS */
    pushq   %rbx
    pushq   16(%rsp)                /* RFLAGS as they were, IF included */
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

/* CPL 0 again: void ring3_resume(rsp = RDI, result = RSI). Drops the exception frame. */
    .globl  ring3_resume
ring3_resume:
    movl    $0x10, %eax             /* an interrupt from ring 3 leaves SS null; have a real one again */
    movl    %eax, %ss
    movq    %rdi, %rsp
    movq    %rsi, %rax
    popfq
    popq    %r15
    popq    %r14
    popq    %r13
    popq    %r12
    popq    %rbp
    popq    %rbx
    ret

    .section .noinit, "aw", @nobits
    .balign 4096
ring3_stacks:
    .skip   16384 * 4               /* CPUS */
