/* The ports by which a guest of `worldswitch run` talks to its VMM: docs/guest-contract.md. */
#ifndef PORTS_H
#define PORTS_H

#include <stdint.h>

#define PORT_CONSOLE 0xe9     /* OUT byte: one character */
#define PORT_EXIT 0x501       /* OUT dword: the guest has finished, with this status */
#define PORT_CHECKPOINT 0x502 /* OUT dword: a good moment to save the guest */

static inline void outb(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline void outl(uint16_t port, uint32_t value)
{
	__asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline void print(const char *text)
{
	while (*text)
		outb(PORT_CONSOLE, (uint8_t)*text++);
}

static inline void print_unsigned(uint64_t value, unsigned base)
{
	char digits[24];
	int n = 0;

	do
		digits[n++] = "0123456789abcdef"[value % base];
	while (value /= base);
	if (base == 16)
		print("0x");
	while (n)
		outb(PORT_CONSOLE, (uint8_t)digits[--n]);
}

#endif
