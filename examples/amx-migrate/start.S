/* Entry from the VMM (docs/guest-contract.md) and the entries of the IDT. */
        .text
        .globl _start
_start:
        andq    $-16, %rsp
        xorl    %ebp, %ebp
        call    main
        movw    $0x501, %dx             /* PORT_EXIT: main's result in EAX */
        outl    %eax, %dx
1:      hlt
        jmp     1b

/*
 * #NM may be raised at any tile instruction, between two uses of any register: everything C may change is kept. The handler is
 * compiled without SSE, so vector registers need no saving.
 */
        .globl nm_entry
nm_entry:
        pushq   %rax
        pushq   %rcx
        pushq   %rdx
        pushq   %rsi
        pushq   %rdi
        pushq   %r8
        pushq   %r9
        pushq   %r10
        pushq   %r11
        cld
        call    device_not_available
        popq    %r11
        popq    %r10
        popq    %r9
        popq    %r8
        popq    %rdi
        popq    %rsi
        popq    %rdx
        popq    %rcx
        popq    %rax
        iretq

/* Any other exception ends the guest: vector and what the processor pushed go to C, which does not come back. */
        .balign 16
        .globl unexpected_entries
unexpected_entries:
        .set    vector, 0
        .rept   32
        pushq   $vector
        jmp     unexpected_common
        .balign 16
        .set    vector, vector + 1
        .endr

unexpected_common:
        movq    (%rsp), %rdi
        leaq    8(%rsp), %rsi
        andq    $-16, %rsp
        call    unexpected_exception

        .section .note.GNU-stack,"",@progbits
