/* A multiboot 1 kernel as a flat file: the header's address fields say where it goes. Prints what
 * the loader tells it (Multiboot specification 0.6.96, 3.3), ends by the debug-exit port. */
    .code32
start:
    .balign 4
header:
    .long   0x1badb002
    .long   0x00010003              /* modules on pages, memory sizes, the addresses below */
    .long   -(0x1badb002 + 0x00010003)
    .long   header, start, 0, stack_top, entry

entry:
    movl    $stack_top, %esp
    cld
    cmpl    $0x2badb002, %eax
    jne     fail
    movl    %ebx, %ebp
    movl    $greeting, %esi
    call    print

    testl   $1 << 6, (%ebp)         /* the memory map: how much RAM in all, in KiB */
    jz      fail
    movl    48(%ebp), %ebx
    movl    44(%ebp), %edi
    addl    %ebx, %edi
    xorl    %eax, %eax
1:  cmpl    $1, 20(%ebx)
    jne     2f
    movl    12(%ebx), %edx
    shrl    $10, %edx
    addl    %edx, %eax
2:  addl    (%ebx), %ebx
    addl    $4, %ebx
    cmpl    %edi, %ebx
    jb      1b
    pushl   %eax
    movl    $memory, %esi
    call    print
    popl    %eax
    call    number

    testl   $1 << 2, (%ebp)         /* the command line */
    jz      fail
    movl    $line, %esi
    call    print
    movl    16(%ebp), %esi
    call    print
    call    newline

    movl    20(%ebp), %ecx          /* each module: its string, and what is in it */
    movl    24(%ebp), %ebx
    jecxz   4f
3:  movl    $module, %esi
    call    print
    movl    8(%ebx), %esi
    call    print
    movb    $':', %al
    call    put
    movb    $' ', %al
    call    put
    pushl   %ecx
    movl    (%ebx), %esi
    movl    4(%ebx), %ecx
    subl    %esi, %ecx
5:  lodsb
    call    put
    loop    5b
    call    newline
    popl    %ecx
    addl    $16, %ebx
    loop    3b
4:  xorl    %eax, %eax
    outb    %al, $0xf4
fail:
    movb    $1, %al
    outb    %al, $0xf4
    cli
    hlt

number:                             /* EAX in decimal, and a line's end */
    movl    $10, %ecx
    xorl    %edi, %edi
1:  xorl    %edx, %edx
    divl    %ecx
    pushl   %edx
    incl    %edi
    testl   %eax, %eax
    jnz     1b
2:  popl    %eax
    addb    $'0', %al
    call    put
    decl    %edi
    jnz     2b
newline:
    movb    $'\n', %al
put:                                /* AL */
    movw    $0x3f8, %dx
    outb    %al, %dx
    ret
print:                              /* the string at ESI */
    lodsb
    testb   %al, %al
    jz      1f
    call    put
    jmp     print
1:  ret

greeting:
    .asciz  "hello from multiboot\n"
memory:
    .asciz  "RAM KiB "
line:
    .asciz  "command line: "
module:
    .asciz  "module "
    .balign 16
    .set    stack_top, . + 4096
