/*
 * A VMM that enters a 64-bit guest which does nothing but write to a port: each round is one KVM_RUN and one KVM_EXIT_IO.
 * Exit status 1 when /dev/kvm is not there or refuses, with the name of the call.
 */
#define ROUNDS 300000
#include "freestanding.h"
#include <linux/kvm.h>

#define O_RDWR 2
#define PROT_READ_WRITE 3
#define MAP_SHARED 1
#define MAP_PRIVATE_ANONYMOUS 0x22

#define MEMORY_SIZE 0x10000
#define PML4 0x1000
#define PDPT 0x2000
#define PD 0x3000
#define CODE 0x4000

static const uint8_t guest_code[] = {
	0xb0, 0x00,       /*    mov $0, %al */
	0xe6, 0x10,       /* 1: out %al, $0x10 */
	0xff, 0xc0,       /*    inc %eax */
	0xeb, 0xfa,       /*    jmp 1b */
};

static long checked(const char *what, long result)
{
	if (result < 0 && result > -4096) {
		print(what);
		print_unsigned(" failed, errno ", (uint64_t)-result);
		exit_with(1);
	}
	return result;
}

#define kvm(fd, request, argument) checked(#request, syscall3(SYS_ioctl, fd, request, argument))

static void *map(long length, int flags, int fd)
{
	return (void *)checked("mmap", syscall6(SYS_mmap, 0, length, PROT_READ_WRITE, flags, fd, 0));
}

/* All that KVM offers: without LM in its CPUID a vCPU is refused long mode. */
static void offer_supported_cpuid(int dev, int vcpu)
{
	static struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 entries[256];
	} cpuid = { .head.nent = 256 };

	kvm(dev, KVM_GET_SUPPORTED_CPUID, &cpuid);
	kvm(vcpu, KVM_SET_CPUID2, &cpuid);
}

/* Long mode, flat, with the first 2 MiB mapped as they are. */
static void enter_long_mode(int vcpu, uint8_t *memory)
{
	static struct kvm_sregs sregs;
	static struct kvm_regs regs;
	const struct kvm_segment code = { .limit = ~0u, .selector = 0x08, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1 };
	const struct kvm_segment data = { .limit = ~0u, .selector = 0x10, .type = 3, .present = 1, .s = 1, .db = 1, .g = 1 };

	*(uint64_t *)(memory + PML4) = PDPT | 3;
	*(uint64_t *)(memory + PDPT) = PD | 3;
	*(uint64_t *)(memory + PD) = 0x83;
	for (unsigned i = 0; i < sizeof guest_code; i++)
		memory[CODE + i] = guest_code[i];

	kvm(vcpu, KVM_GET_SREGS, &sregs);
	sregs.cs = code;
	sregs.ds = sregs.es = sregs.ss = data;
	sregs.cr3 = PML4;
	sregs.cr4 = 0x20;       /* PAE */
	sregs.cr0 = 0x80000011; /* PG ET PE */
	sregs.efer = 0x500;     /* LMA LME */
	kvm(vcpu, KVM_SET_SREGS, &sregs);
	regs.rip = CODE;
	regs.rflags = 2;
	kvm(vcpu, KVM_SET_REGS, &regs);
}

static int run(unsigned long rounds)
{
	const int dev = (int)checked("open /dev/kvm", syscall3(SYS_open, "/dev/kvm", O_RDWR, 0));
	const int vm = (int)kvm(dev, KVM_CREATE_VM, 0);
	uint8_t *memory = map(MEMORY_SIZE, MAP_PRIVATE_ANONYMOUS, -1);
	struct kvm_userspace_memory_region region = { .memory_size = MEMORY_SIZE, .userspace_addr = (uint64_t)memory };

	kvm(vm, KVM_SET_USER_MEMORY_REGION, &region);
	const int vcpu = (int)kvm(vm, KVM_CREATE_VCPU, 0);
	volatile struct kvm_run *shared = map(kvm(dev, KVM_GET_VCPU_MMAP_SIZE, 0), MAP_SHARED, vcpu);

	offer_supported_cpuid(dev, vcpu);
	enter_long_mode(vcpu, memory);
	for (unsigned long round = 0; round < rounds; round++) {
		kvm(vcpu, KVM_RUN, 0);
		const uint8_t written = *((volatile uint8_t *)shared + shared->io.data_offset);

		if (shared->exit_reason != KVM_EXIT_IO || shared->io.port != 0x10 || written != (uint8_t)round) {
			print_unsigned("unexpected exit, reason ", shared->exit_reason);
			return 1;
		}
	}
	print_unsigned("exits ", rounds);
	return 0;
}
