/* A flat protected-mode image: loaded and entered at 0x100000, 32 bits, flat segments. */
    .code32
    movl    $text, %esi
    movw    $0x3f8, %dx
    cld
next:
    lodsb
    testb   %al, %al
    jz      done
    outb    %al, %dx
    jmp     next
done:
    movb    $0x21, %al
    outb    %al, $0xf4
    cli
    hlt
text:
    .asciz  "hello from protected mode\n"
