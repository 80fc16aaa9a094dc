/* Segments, gates and pages for rings 0 and 3. */
#ifndef RINGS_H
#define RINGS_H

#include <stdint.h>

#define VECTOR_AC 17
#define VECTOR_DONE 0x80

#define X86_CR0_AM (1ul << 18)
#define X86_EFLAGS_AC (1ul << 18)
#define X86_EFLAGS_FIXED 2ul

#define MSR_TEST_CTRL 0x33
#define MSR_IA32_CORE_CAPS 0xcf
#define TEST_CTRL_SPLIT_LOCK_DETECT (1u << 29)
#define CORE_CAPS_SPLIT_LOCK_DETECT (1u << 5)

static inline uint64_t rdmsr(uint32_t msr)
{
	uint32_t lo, hi;

	__asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
	return (uint64_t)hi << 32 | lo;
}

static inline void wrmsr(uint32_t msr, uint64_t value)
{
	__asm__ volatile("wrmsr" : : "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)) : "memory");
}

static inline uint64_t rdtsc(void)
{
	uint32_t lo, hi;

	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return (uint64_t)hi << 32 | lo;
}

static inline void set_cr0_am(int on)
{
	uint64_t cr0;

	__asm__ volatile("mov %%cr0, %0" : "=r"(cr0));
	cr0 = on ? cr0 | X86_CR0_AM : cr0 & ~X86_CR0_AM;
	__asm__ volatile("mov %0, %%cr0" : : "r"(cr0) : "memory");
}

/* CPUID.(7,0):EDX[30] */
static inline int has_core_capabilities(void)
{
	uint32_t eax = 7, ebx, ecx = 0, edx;

	__asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
	return edx >> 30 & 1;
}

/* Opens the pages to ring 3 and installs GDT, TSS and IDT. */
void install_rings(void);

/* Runs `access` in ring 0 or 3, with RFLAGS.AC or without; the vector that it came back with: VECTOR_DONE or VECTOR_AC. */
unsigned try_access(const char *access, int ring, int alignment_check);

#endif
