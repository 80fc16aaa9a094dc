/* Entry from the VMM (docs/guest-contract.md), the accesses, and the way to a ring and back. */
        .text
        .globl _start
_start:
        andq    $-16, %rsp
        xorl    %ebp, %ebp
        call    main                    /* RDI: the words of the command line, or 0 */
        movw    $0x501, %dx             /* PORT_EXIT: main's result in EAX */
        outl    %eax, %dx
1:      hlt
        jmp     1b

/* The accesses. Each ends with a software interrupt, which ring 3 may take too. */
        .globl access_lock, access_xchg, access_load
access_lock:
        lock incl victim
        int     $0x80
access_xchg:
        movl    $7, %eax
        xchgl   %eax, victim
        int     $0x80
access_load:
        movl    victim, %eax
        int     $0x80

/*
 * unsigned run_in_ring(const void *access, unsigned long cs, unsigned long ss, unsigned long rflags)
 * Runs an access in the ring of CS, with that RFLAGS; returns the vector that it came back with.
 */
        .globl run_in_ring
run_in_ring:
        pushq   %rbx
        pushq   %rbp
        pushq   %r12
        pushq   %r13
        pushq   %r14
        pushq   %r15
        pushfq
        movq    %rsp, saved_rsp
        leaq    access_stack_top, %rax
        pushq   %rdx
        pushq   %rax
        pushq   %rcx
        pushq   %rsi
        pushq   %rdi
        iretq

/* Back in ring 0, whatever stack this is: with EAX = vector, on the stack of run_in_ring. */
        .globl done_entry, alignment_check_entry
done_entry:
        movl    $0x80, %eax
        jmp     1f
alignment_check_entry:
        movl    $17, %eax
1:      movq    saved_rsp, %rsp
        popfq
        popq    %r15
        popq    %r14
        popq    %r13
        popq    %r12
        popq    %rbp
        popq    %rbx
        ret

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

        .bss
        .balign 64
        .skip   62
        .globl victim
victim: .skip   4                       /* two bytes on each side of a line */
        .balign 16
saved_rsp:
        .skip   8
        .balign 16
        .skip   4096
access_stack_top:

        .section .note.GNU-stack,"",@progbits
