/*
 * A guest that multiplies matrices with AMX and checks every element. It enables the tile data state the way an operating system
 * does: armed through IA32_XFD, so that the first tile instruction raises #NM, whose handler lets it through.
 * Half-way, with all eight tiles in use, it tells its VMM that this is a good moment to save it and to let it go on elsewhere.
 */
#include "matrices.h"
#include "ports.h"
#include "processor.h"

#define EXIT_EQUAL 0
#define EXIT_DIFFERENT 1
#define EXIT_NO_AMX 3

extern void nm_entry(void);
extern char unexpected_entries[]; /* 16 bytes each */

static struct gate idt[32];
static volatile unsigned nm_count;
static volatile uint64_t nm_xfd_err;

/* #NM: if IA32_XFD stopped a use of tile data, allow it from now on and let the instruction be tried again. */
__attribute__((target("general-regs-only"))) void device_not_available(void)
{
	nm_count++;
	nm_xfd_err = rdmsr(MSR_IA32_XFD_ERR);
	wrmsr(MSR_IA32_XFD_ERR, 0);
	if (nm_xfd_err != XFEATURE_MASK_XTILE_DATA || nm_count > 1) {
		print("#NM that IA32_XFD does not explain\n");
		outl(PORT_EXIT, EXIT_DIFFERENT);
	}
	wrmsr(MSR_IA32_XFD, 0);
}

__attribute__((target("general-regs-only"), noreturn)) void unexpected_exception(uint64_t vector, const uint64_t *pushed)
{
	print("unexpected exception ");
	print_unsigned(vector, 10);
	for (int i = 0; i < 3; i++) {
		print(" ");
		print_unsigned(pushed[i], 16);
	}
	print("\n");
	outl(PORT_EXIT, EXIT_DIFFERENT);
	for (;;)
		__asm__ volatile("hlt");
}

static void install_idt(void)
{
	const struct table_register idtr = { sizeof idt - 1, (uintptr_t)idt };

	for (unsigned vector = 0; vector < 32; vector++)
		set_gate(&idt[vector], (uintptr_t)unexpected_entries + 16 * vector);
	set_gate(&idt[VECTOR_NM], (uintptr_t)nm_entry);
	lidt(&idtr);
}

static void print_register(const char *name, uint64_t value)
{
	print(name);
	print("=");
	print_unsigned(value, 16);
}

/* CPUID leaves 0x80000002-4 hold the processor's name, 16 bytes each. */
static void print_brand(const char *when)
{
	union {
		struct cpuid_result leaf[3];
		char text[49];
	} brand;

	for (unsigned i = 0; i < 3; i++)
		brand.leaf[i] = cpuid(0x80000002 + i, 0);
	brand.text[48] = 0;
	print(when);
	print(brand.text);
	print("\n");
}

static int has_amx(void)
{
	const uint32_t amx_bf16 = 1u << 22, amx_tile = 1u << 24, amx_int8 = 1u << 25;
	const uint32_t wanted = amx_bf16 | amx_tile | amx_int8;
	const uint32_t edx = cpuid(7, 0).edx;

	if ((edx & wanted) == wanted && (cpuid(0xd, 0).eax & XFEATURE_MASK_XTILE_DATA))
		return 1;
	print("this processor has no AMX: CPUID.(EAX=7,ECX=0):");
	print_register("EDX", edx);
	print("\n");
	return 0;
}

static void checkpoint(void)
{
	print("half-way: 8 tiles in use\n");
	outl(PORT_CHECKPOINT, 1);
	print_brand("going on with ");
	print_register("XCR0", xgetbv(0));
	print_register(" IA32_XFD", rdmsr(MSR_IA32_XFD));
	print("\n");
}

static int report(const char *name, unsigned equal)
{
	print(name);
	print(": ");
	print_unsigned(equal, 10);
	print(" of ");
	print_unsigned(M * N, 10);
	print(" equal\n");
	return equal == M * N;
}

int main(void)
{
	install_idt();
	print_brand("started with ");
	if (!has_amx())
		return EXIT_NO_AMX;

	xsetbv(0, XFEATURES_WANTED & cpuid(0xd, 0).eax);
	wrmsr(MSR_IA32_XFD, XFEATURE_MASK_XTILE_DATA);
	print_register("XCR0", xgetbv(0));
	print_register(" IA32_XFD", rdmsr(MSR_IA32_XFD));
	print("\n");

	fill_matrices();
	pack_matrices();
	multiply_with_tiles(checkpoint);

	print("#NM raised: ");
	print_unsigned(nm_count, 10);
	print_register(", IA32_XFD_ERR", nm_xfd_err);
	print("\n");
	int good = nm_count == 1;
	good &= report("int8 64x64x256", equal_int8());
	good &= report("bf16 64x64x128", equal_bf16());
	return good ? EXIT_EQUAL : EXIT_DIFFERENT;
}
