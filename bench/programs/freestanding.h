/*
 * What a benchmark program needs of a C library: an entry, three system calls and a decimal number. Programs stay small enough to
 * lie in the repository, and their run is theirs alone.
 */
#ifndef FREESTANDING_H
#define FREESTANDING_H

#include <stdint.h>

#define SYS_read 0
#define SYS_write 1
#define SYS_open 2
#define SYS_mmap 9
#define SYS_ioctl 16
#define SYS_getppid 110
#define SYS_exit_group 231

static inline long syscall6(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}

#define syscall3(nr, a, b, c) syscall6(nr, (long)(a), (long)(b), (long)(c), 0, 0, 0)

static inline void print(const char *text)
{
	long length = 0;

	while (text[length])
		length++;
	syscall3(SYS_write, 1, text, length);
}

static inline void print_unsigned(const char *name, uint64_t value)
{
	char text[24];
	int at = sizeof text - 1;

	text[at] = 0;
	text[--at] = '\n';
	do
		text[--at] = (char)('0' + value % 10);
	while (value /= 10);
	print(name);
	print(&text[at]);
}

/* The whole process: with a VM it may have threads of the kernel's that exit(2) would leave behind. */
static inline __attribute__((noreturn)) void exit_with(int status)
{
	for (;;)
		syscall3(SYS_exit_group, status, 0, 0);
}

/* The program: `rounds` is its first argument, or the count that takes qemu-x86_64 a few seconds. */
static int run(unsigned long rounds);
#ifndef ROUNDS
#error "ROUNDS is the default number of rounds"
#endif

__attribute__((used, noreturn)) static void start(long *stack)
{
	const char *argument = stack[0] > 1 ? (const char *)stack[2] : 0;
	unsigned long rounds = ROUNDS;

	if (argument)
		for (rounds = 0; *argument >= '0' && *argument <= '9'; argument++)
			rounds = rounds * 10 + (unsigned long)(*argument - '0');
	exit_with(run(rounds));
}

__asm__(".globl _start\n_start:\n\tmovq %rsp, %rdi\n\tandq $-16, %rsp\n\tcall start\n");

#endif
