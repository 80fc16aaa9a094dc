#include "rings.h"
#include "ports.h"

extern unsigned run_in_ring(const void *access, uint64_t cs, uint64_t ss, uint64_t rflags);
extern char done_entry[], alignment_check_entry[];
extern char unexpected_entries[]; /* 16 bytes each */

enum { CODE_0 = 0x08, DATA_0 = 0x10, CODE_3 = 0x18, DATA_3 = 0x20, TSS = 0x28 };

/* A 64-bit interrupt gate (SDM Vol. 3A, "64-Bit Mode IDT"). */
struct gate {
	uint16_t offset_0;
	uint16_t selector;
	uint8_t ist;
	uint8_t type;
	uint16_t offset_16;
	uint32_t offset_32;
	uint32_t reserved;
};

struct __attribute__((packed)) table_register {
	uint16_t limit;
	uint64_t base;
};

static struct gate idt[VECTOR_DONE + 1];
static struct __attribute__((packed)) { uint32_t reserved; uint64_t rsp[3]; uint8_t rest[76]; } tss;
static char ring0_stack[4096] __attribute__((aligned(16)));
static uint64_t gdt[7] = { 0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00affb000000ffff, 0x00cff3000000ffff };

static void set_gate(unsigned vector, const char *entry, unsigned privilege)
{
	const uintptr_t at = (uintptr_t)entry;

	idt[vector] = (struct gate){
		.offset_0 = (uint16_t)at,
		.selector = CODE_0,
		.type = (uint8_t)(0x8e | privilege << 5),
		.offset_16 = (uint16_t)(at >> 16),
		.offset_32 = (uint32_t)(at >> 32),
	};
}

/* The contract's tables map memory for ring 0: the user bit is missing at every level. */
static void open_pages(void)
{
	const uint64_t user = 4, address = ~0xffful;
	uint64_t cr3;

	__asm__ volatile("mov %%cr3, %0" : "=r"(cr3));
	uint64_t *pml4 = (uint64_t *)(cr3 & address);
	uint64_t *pdpt = (uint64_t *)(pml4[0] & address);
	uint64_t *directory = (uint64_t *)(pdpt[0] & address);

	pml4[0] |= user;
	pdpt[0] |= user;
	for (int i = 0; i < 512; i++)
		directory[i] |= user;
	__asm__ volatile("mov %0, %%cr3" : : "r"(cr3) : "memory");
}

void install_rings(void)
{
	const uint64_t base = (uintptr_t)&tss, limit = sizeof tss - 1;
	const struct table_register gdtr = { sizeof gdt - 1, (uintptr_t)gdt };
	const struct table_register idtr = { sizeof idt - 1, (uintptr_t)idt };

	open_pages();
	tss.rsp[0] = (uintptr_t)(ring0_stack + sizeof ring0_stack);
	gdt[TSS / 8] = limit | (base & 0xffffff) << 16 | 0x89ul << 40 | (base >> 24 & 0xff) << 56;
	gdt[TSS / 8 + 1] = base >> 32;
	for (unsigned vector = 0; vector < 32; vector++)
		set_gate(vector, unexpected_entries + 16 * vector, 0);
	set_gate(VECTOR_AC, alignment_check_entry, 0);
	set_gate(VECTOR_DONE, done_entry, 3);
	__asm__ volatile("lgdt %0" : : "m"(gdtr));
	__asm__ volatile("lidt %0" : : "m"(idtr));
	__asm__ volatile("ltr %0" : : "r"((uint16_t)TSS));
}

unsigned try_access(const char *access, int ring, int alignment_check)
{
	const uint64_t rflags = X86_EFLAGS_FIXED | (alignment_check ? X86_EFLAGS_AC : 0);

	return ring == 0 ? run_in_ring(access, CODE_0, DATA_0, rflags) : run_in_ring(access, CODE_3 | 3, DATA_3 | 3, rflags);
}

__attribute__((noreturn)) void unexpected_exception(uint64_t vector, const uint64_t *pushed)
{
	print("unexpected exception ");
	print_unsigned(vector, 10);
	for (int i = 0; i < 3; i++) {
		print(" ");
		print_unsigned(pushed[i], 16);
	}
	print("\n");
	outl(PORT_EXIT, 1);
	for (;;)
		__asm__ volatile("hlt");
}
