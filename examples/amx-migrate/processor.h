/* CPUID, control registers of the extended state, MSRs and the IDT. */
#ifndef PROCESSOR_H
#define PROCESSOR_H

#include <stdint.h>

#define MSR_IA32_XFD 0x1c4
#define MSR_IA32_XFD_ERR 0x1c5

#define XFEATURE_MASK_XTILE_DATA (1u << 18)
/* x87 SSE AVX opmask ZMM_Hi256 Hi16_ZMM PKRU XTILE_CFG XTILE_DATA */
#define XFEATURES_WANTED 0x602e7u

#define VECTOR_NM 7

struct cpuid_result {
	uint32_t eax, ebx, ecx, edx;
};

static inline struct cpuid_result cpuid(uint32_t leaf, uint32_t subleaf)
{
	struct cpuid_result r;

	__asm__ volatile("cpuid" : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx) : "a"(leaf), "c"(subleaf));
	return r;
}

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

static inline uint64_t xgetbv(uint32_t xcr)
{
	uint32_t lo, hi;

	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(xcr));
	return (uint64_t)hi << 32 | lo;
}

static inline void xsetbv(uint32_t xcr, uint64_t value)
{
	__asm__ volatile("xsetbv" : : "c"(xcr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)) : "memory");
}

/* A 64-bit interrupt gate (SDM Vol. 3A, "64-Bit Mode IDT"). */
struct gate {
	uint16_t offset_0;
	uint16_t selector;
	uint8_t ist;
	uint8_t type; /* present, DPL 0, interrupt gate: 0x8e */
	uint16_t offset_16;
	uint32_t offset_32;
	uint32_t reserved;
};

struct __attribute__((packed)) table_register {
	uint16_t limit;
	uint64_t base;
};

static inline void set_gate(struct gate *gate, uintptr_t entry)
{
	gate->offset_0 = (uint16_t)entry;
	gate->selector = 0x08; /* the code segment of the contract's GDT */
	gate->ist = 0;
	gate->type = 0x8e;
	gate->offset_16 = (uint16_t)(entry >> 16);
	gate->offset_32 = (uint32_t)(entry >> 32);
	gate->reserved = 0;
}

static inline void lidt(const struct table_register *idtr)
{
	__asm__ volatile("lidt %0" : : "m"(*idtr));
}

#endif
